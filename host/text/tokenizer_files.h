// The tokenizers behind each file format; load_tokenizer() chooses among them. [control]
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/tokenizer.h"

namespace llmhost::text {

// What tokenizer_config.json, special_tokens_map.json and generation_config.json of a model folder say.
struct TokenizerConfig {
  std::string bos, eos, pad, unk;  // token texts; empty: not named
  std::vector<AddedToken> added;   // added_tokens_decoder
  std::optional<bool> add_bos, add_eos;
  std::vector<int32_t> stop_ids;  // generation_config.json: eos_token_id
};
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);
// Resolves the names of `config` and the well-known names of end-of-turn tokens.
SpecialIds special_ids_of(const Tokenizer& tokenizer, const TokenizerConfig& config, SpecialIds known = {});

std::shared_ptr<Tokenizer> make_json_tokenizer(std::string_view json, std::string_view source);
// `config` may declare added tokens; a bare model has none, as in the SentencePiece library.
std::shared_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string_view bytes, std::string_view source,
                                                        const TokenizerConfig& config);
// Lines of "base64 rank". `settings` is a tiktoken_config.json ({"pattern", "special_tokens"}), empty if
// there is none.
bool looks_like_rank_file(std::string_view bytes);
std::shared_ptr<Tokenizer> make_rank_tokenizer(std::string_view bytes, std::string_view source,
                                               const std::filesystem::path& settings);
std::shared_ptr<Tokenizer> make_gguf_tokenizer(const std::filesystem::path& path);

}  // namespace llmhost::text
