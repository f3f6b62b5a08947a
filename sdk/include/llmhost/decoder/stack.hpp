// A whole decoder under the names that most families use. Header-only. [control]
#pragma once

#include <string>

#include "llmhost/decoder/config.hpp"
#include "llmhost/decoder/head.hpp"
#include "llmhost/decoder/norm.hpp"

namespace llmh {

// embed_tokens, then layer(scope, index, x) for each of layers.0, layers.1 …, then norm, all below `path`, and the head of the
// wanted rows. x is [T, hidden_size].
template <typename Layer>
void build_decoder(Graph& graph, const DecoderSizes& sizes, const NormConfig& final_norm, bool tied, const Layer& layer,
                   const std::string& path = "model") {
  const Scope model = graph.scope(path);
  Tensor x = model.embedding("embed_tokens", graph.input(LLMH_INPUT_TOKEN_IDS), sizes.vocab_size, sizes.hidden_size);
  for (int64_t i = 0; i < sizes.n_layers; ++i) x = layer(model.scope("layers", i), i, x);
  x = norm(model, "norm", output_rows(x), final_norm);
  outputs(graph, x, lm_head(graph, x, sizes.vocab_size, tied, path + ".embed_tokens.weight"));
}

}  // namespace llmh
