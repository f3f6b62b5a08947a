// GGUF metadata in the vocabulary of the Hub's config.json, so that architectures read one set of keys.
//
//   general.architecture -> model_type            {arch}.embedding_length -> hidden_size, and so on
//   {arch}.rope.scaling.* -> rope_scaling{...}    any other {arch}.<rest> -> "gguf.<rest>", for the loader's
//   audit vocab_size: its key, or the number of tokens  tie_word_embeddings: there is no tensor output.weight
//
// 32-bit floats become the double with the shortest decimal form (1e-05, not 9.999999747378752e-06), which
// converts back to the same f32.
#pragma once

#include <map>
#include <string>

#include "core/json.h"

namespace llmhost::model {

class GgufFile;

struct GgufConfig {
  Json config;  // an object
  // Where a key of `config` came from ("hidden_size", "rope_scaling.factor" -> "xyz.embedding_length", ...).
  std::map<std::string, std::string> sources;
};

// Throws when general.architecture is missing, the file holds no model (an adapter, say), or a value cannot
// be represented.
GgufConfig gguf_to_config(const GgufFile& file);

}  // namespace llmhost::model
