// The added tokens of a tokenizer: found in the text before the model sees it. Constant after build(),
// [thread-safe].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace llmhost::text {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool lstrip = false;       // takes the white space on its left
  bool rstrip = false;       // and on its right
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // searched in the normalized text
  std::string decoded = {};  // its text when decoded: the normalized content; set by build()
};

// Finds the longest of many strings at each position: a sorted list, narrowed byte by byte.
class StringMatcher {
 public:
  static constexpr size_t kNone = ~size_t{0};
  // `strings[i]` is found as i; of equal strings the first.
  void build(std::vector<std::string> strings);
  // The longest string that `text` has at `position`, as (index, length); kNone if none.
  std::pair<size_t, size_t> longest_at(std::string_view text, size_t position) const;
  bool empty() const { return sorted_.empty(); }

 private:
  std::vector<std::pair<std::string, size_t>> sorted_;
  bool first_[256] = {};
};

class AddedTokens {
 public:
  struct Segment {
    std::string_view text;
    int32_t id = -1;  // of the token, or -1 for plain text
    bool at_start = false;
  };

  void add(AddedToken token) { tokens_.push_back(std::move(token)); }
  // `normalize` is what the tokenizer does to text; it is applied to tokens that are searched in normalized
  // text.
  template <class Normalize>
  void build(const Normalize& normalize) {
    for (AddedToken& t : tokens_) {
      t.decoded = t.normalized ? normalize(t.content) : t.content;
      search(t);
    }
    finish();
  }

  // Cuts at the tokens of the raw (or of the normalized) text. Without `parse_special`, special tokens are
  // plain text.
  std::vector<Segment> split(std::string_view text, bool normalized, bool parse_special) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* find(int32_t id) const;
  const AddedToken* find(std::string_view content) const;

 private:
  struct Set {
    StringMatcher matcher;
    std::vector<std::string> strings;
    std::vector<size_t> token;  // index in tokens_
  };
  void search(const AddedToken& token);
  void finish();

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string_view, size_t> by_content_;
  Set raw_, normalized_;
};

}  // namespace llmhost::text
