// Defaults for generation that come with a model: generation_config.json, or the like keys of config.json or
// GGUF.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>
#include <vector>

namespace llmhost::model {

class GgufFile;

// Absent members were not given. Values are as stored: a sampler checks their ranges.
struct GenerationConfig {
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> typical_p;
  std::optional<double> repetition_penalty;
  std::optional<int64_t> no_repeat_ngram_size;
  std::optional<int64_t> max_length;
  std::optional<int64_t> max_new_tokens;

  // Takes from `other` what is absent here.
  void fill_from(const GenerationConfig& other);
};

// Unknown keys and nulls are ignored; a known key of the wrong type is an error that names `source` and the
// key. Negative token ids, which some configs use for "none", count as absent.
GenerationConfig parse_generation_config(const nlohmann::json& config, std::string_view source);

// Token ids from tokenizer.ggml.*, sampler settings from general.sampling.*.
GenerationConfig gguf_generation_config(const GgufFile& file);

}  // namespace llmhost::model
