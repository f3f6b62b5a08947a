// The small parts of a tokenizer.json, from parsed JSON. Everything that is not understood is refused with
// its path.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_decoder.h"

namespace llmhost::text {

// A JSON value and where it stands ("dir/tokenizer.json: pre_tokenizer.pretokenizers[1]").
struct JsonAt {
  const Json& value;
  std::string where;

  JsonAt at(std::string_view key) const;  // refused when missing
  bool has(std::string_view key) const;   // present and not null
  std::vector<JsonAt> items(std::string_view key) const;
  std::string string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string_view otherwise) const;
  bool flag_or(std::string_view key, bool otherwise) const;
  size_t count_or(std::string_view key, size_t otherwise) const;
  [[noreturn]] void refuse(std::string_view what) const;
};

NormalizerPtr read_normalizer(const JsonAt& json);
PreTokenizerPtr read_pre_tokenizer(const JsonAt& json);
void read_decoder(const JsonAt& json, std::vector<DecoderSpec>& out);
std::vector<AddedToken> read_added_tokens(const JsonAt& json);

// What a post-processor puts around a single text.
struct PostProcess {
  std::vector<int32_t> prefix, suffix;
  bool drops_text = false;
};
void read_post_processor(const JsonAt& json, PostProcess& out);

}  // namespace llmhost::text
