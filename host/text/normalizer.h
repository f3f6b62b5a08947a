// Normalizers of tokenizer.json: text to text, before it is cut into pieces. Constant after construction,
// [thread-safe].
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_regex.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string_view text) const = 0;  // valid UTF-8 in, valid UTF-8 out
};

struct BertNormalizerOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};

using NormalizerPtr = std::unique_ptr<const Normalizer>;

NormalizerPtr make_normalizer_sequence(std::vector<NormalizerPtr> steps);
NormalizerPtr make_unicode_normalizer(NormalForm form);
NormalizerPtr make_lowercase_normalizer();
NormalizerPtr make_strip_accents_normalizer();
NormalizerPtr make_strip_normalizer(bool left, bool right);
NormalizerPtr make_replace_normalizer(std::string from, std::string to);
NormalizerPtr make_replace_normalizer(Regex from, std::string to);
NormalizerPtr make_prepend_normalizer(std::string prefix);
NormalizerPtr make_bert_normalizer(const BertNormalizerOptions& options);
NormalizerPtr make_nmt_normalizer();
NormalizerPtr make_byte_level_normalizer();
// SentencePiece's compiled map: a double-array trie and the replacement texts. `where` names it in errors.
NormalizerPtr make_charsmap_normalizer(std::string_view blob, std::string_view where);

// Every occurrence of a non-empty `from`, left to right.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace llmhost::text
