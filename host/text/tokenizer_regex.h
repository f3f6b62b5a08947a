// Regular expressions of tokenizer files, run by PCRE2 over valid UTF-8 with limits on steps and memory, so
// that a hostile pattern fails with an error instead of hanging. [thread-safe]
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::text {

struct Match {
  size_t begin = 0;
  size_t end = 0;
  bool is_match = true;  // false: the text between two matches
};

// Which engine the pattern was written for; it is rewritten so that PCRE2 means the same.
enum class RegexFlavor {
  kOniguruma,  // tokenizer.json: ^ and $ match at lines, {n,m}+ is not possessive, [A&&[^B]] is an
               // intersection
  kPerl,       // rank files, GGUF tables
};

class Regex {
 public:
  // `where` names the pattern's place in errors.
  Regex(std::string_view pattern, RegexFlavor flavor, std::string_view where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // The matches and the text between them, in order, covering all of `text`.
  void split(std::string_view text, std::vector<Match>& out) const;
  std::string replace_all(std::string_view text, std::string_view with) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

// Exposed for tests: the PCRE2 form of a pattern.
std::string translate_regex(std::string_view pattern, RegexFlavor flavor, std::string_view where);

}  // namespace llmhost::text
