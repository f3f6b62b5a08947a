// The end of a decoder: rows whose logits are wanted, output head. Header-only. [control]
#pragma once

#include <string_view>

#include "llmhost/graph.hpp"

namespace llmh {

// Picks the rows whose logits are wanted: x [T, D] -> [R, D]. Everything after it costs R rows rather than T, so it comes
// before the final norm.
inline Tensor output_rows(Tensor x) {
  return gather_rows(x, x.graph().input(LLMH_INPUT_OUTPUT_ROWS));
}

// The logits of the wanted rows, x [R, D] -> [R, V]: `lm_head`, or, when the two are tied, the embedding table, whose
// weight has the name `embedding_weight` and the shape [V, D]. `name` is the head's module.
inline Tensor lm_head(Graph& graph, Tensor x, int64_t vocab_size, bool tied, std::string_view embedding_weight,
                      Bias bias = Bias::kNone, std::string_view name = "lm_head") {
  if (!tied) return graph.root().linear(name, x, vocab_size, bias);
  return graph.root().linear_with(name, x, graph.weight(embedding_weight, {vocab_size, x.width()}));
}

// Marks both outputs: x [R, D] after the final norm, and its logits.
inline void outputs(Graph& graph, Tensor hidden, Tensor logits) {
  graph.output(LLMH_OUTPUT_HIDDEN, hidden);
  graph.output(LLMH_OUTPUT_LOGITS, logits);
}

}  // namespace llmh
