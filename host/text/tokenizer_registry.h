// What vocabularies leave unsaid: the tables of registry/tokenizers, embedded at build time. [thread-safe]
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::text {

// gguf.yaml: one value of tokenizer.ggml.pre.
struct GgufPreset {
  std::vector<std::string> patterns;
  bool ignore_merges = false;
  bool add_bos = false;
  bool no_bos = false;
  bool clean_spaces = true;
  bool byte_level = true;
  bool escape_spaces = false;
  bool add_sep = false;
};
// gguf.yaml: "scores", "merges" or "probabilities" for a value of tokenizer.ggml.model; empty: not supported.
std::string gguf_model_kind(std::string_view model);
std::optional<GgufPreset> find_gguf_preset(std::string_view id);
std::vector<std::string> gguf_preset_ids();
std::vector<std::string> gguf_preferred_presets();
// gguf_known.yaml: names of patterns by the SHA-256 of the ids of a text.
struct GgufKnown {
  std::string text;
  std::map<std::string, std::string> names;
};
GgufKnown known_gguf_tokenizers();
// probes.yaml
std::vector<std::string> tokenizer_probes();
// gguf.yaml: pieces that are control tokens whatever type the file gives them.
std::vector<std::string> gguf_control_pieces();

// gguf.yaml: tokens that take the white space beside them.
struct GgufStrip {
  bool right_of_all = false;  // of all special tokens
  std::vector<std::string> left, right, never_right;
};
GgufStrip find_gguf_strip(std::string_view preset, std::string_view model_name);

// tiktoken.yaml
struct RankForm {
  std::string pattern;
  std::vector<std::string> special_tokens;  // the first has the id `ranks`
};
std::optional<RankForm> find_rank_form(size_t ranks);

// roles.yaml: "bos", "eos", "eot", "stop".
std::vector<std::string> role_names(std::string_view role);

}  // namespace llmhost::text
