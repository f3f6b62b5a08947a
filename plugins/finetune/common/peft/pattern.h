// Regular expressions of adapter configs. They are Python's; PCRE2 runs them, so only what both read alike is
// taken, and a pattern that would backtrack without end is refused. Throws llmh::Error.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace peft {

// Steps that all matching of one adapter may take, so that many cheap patterns are bounded as one dear one
// is.
class MatchBudget {
 public:
  MatchBudget();
  ~MatchBudget();
  MatchBudget(const MatchBudget&) = delete;
  MatchBudget& operator=(const MatchBudget&) = delete;

 private:
  friend class Pattern;
  struct State;
  std::unique_ptr<State> state_;
};

class Pattern {
 public:
  // `where` names the field in errors. The budget must outlive the pattern.
  Pattern(std::string_view text, std::string where, MatchBudget& budget);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  // As Python's re.fullmatch.
  bool matches_whole(std::string_view path) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

// Throws unless Python and PCRE2 read the pattern alike. Exposed for tests.
void check_common_dialect(std::string_view pattern, std::string_view where);

}  // namespace peft
