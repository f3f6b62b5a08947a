// A Hub config in the metadata of GGUF files, by registry/gguf/architectures.yaml: the inverse of
// gguf_config.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/loader.h"

namespace llmhost::model {

// A tensor that only GGUF files have: numbers of the config.
struct GgufExtraTensor {
  std::string name;
  std::vector<float> values;
};

struct GgufMetadata {
  using Value = std::variant<uint32_t, float, bool, std::string>;
  struct Entry {
    std::string key;  // without the architecture's name
    Value value;
  };
  std::string architecture;
  std::vector<Entry> entries;
  std::vector<GgufExtraTensor> tensors;
  std::vector<std::string> notes;  // one line each: what the format has no word for, and what was done
};

// What is special about an architecture's tensors in GGUF files.
class GgufTensorRules {
 public:
  explicit GgufTensorRules(const LoadedModel& model);
  // Changes the values of a tensor, in the layout that the architecture's name rules give, to those of the
  // file.
  void apply(std::string_view gguf_name, const std::vector<int64_t>& shape, std::vector<float>& values) const;
  bool changes(std::string_view gguf_name) const;

 private:
  struct Addition {
    std::vector<std::string> patterns;
    float value = 0;
  };
  std::vector<Addition> additions_;
  std::vector<std::string> queries_;  // patterns
  float query_scale_ = 1;
  std::vector<std::string> fused_;
  int64_t n_heads_, n_kv_heads_, head_dim_;
};

// Throws kUnimplemented for a model type that the format has no architecture for, and for settings that
// readers of the format take to be others, naming the key.
GgufMetadata gguf_metadata(const LoadedModel& model);

// The model types that can be written, sorted.
std::vector<std::string> gguf_model_types();

}  // namespace llmhost::model
