// Pre-tokenizers of tokenizer.json: cut a text into the pieces that the model sees one by one. Constant after
// construction, [thread-safe].
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_regex.h"

namespace llmhost::text {

// A text and the pieces of it that are left; text between pieces is dropped.
struct Pieces {
  struct Range {
    size_t begin = 0;
    size_t end = 0;
    bool at_start = false;  // begins where the whole input begins
  };
  std::string text;
  std::vector<Range> ranges;

  Pieces(std::string whole, bool at_start) : text(std::move(whole)), ranges{{0, text.size(), at_start}} {}
  std::string_view piece(const Range& r) const {
    return std::string_view(text).substr(r.begin, r.end - r.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

// What happens to the text that a splitting pattern matches.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme { kAlways, kFirst, kNever };

using PreTokenizerPtr = std::unique_ptr<const PreTokenizer>;

PreTokenizerPtr make_pre_tokenizer_sequence(std::vector<PreTokenizerPtr> steps);
PreTokenizerPtr make_regex_split(Regex pattern, SplitBehavior behavior, bool invert);
PreTokenizerPtr make_string_split(std::string pattern, SplitBehavior behavior, bool invert);
PreTokenizerPtr make_byte_level(bool add_prefix_space, bool use_regex);
PreTokenizerPtr make_metaspace(std::string replacement, PrependScheme scheme, bool split);
PreTokenizerPtr make_whitespace();        // runs of word characters, runs of other visible characters
PreTokenizerPtr make_whitespace_split();  // at white space
PreTokenizerPtr make_punctuation(SplitBehavior behavior);
PreTokenizerPtr make_digits(bool individual);
PreTokenizerPtr make_bert_pre_tokenizer();
PreTokenizerPtr make_unicode_scripts();
PreTokenizerPtr make_fixed_length(size_t characters);

}  // namespace llmhost::text
