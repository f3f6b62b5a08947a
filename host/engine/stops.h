// Finds stop strings in text that arrives in pieces. Text is let through as soon as it cannot be the
// beginning of a stop string any more. The match that ends first wins (the longest of those that end
// together), so the result does not depend on how the text was cut into pieces. Works on bytes: stop strings
// and text must be in the same encoding.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llmhost::engine {

class StopMatcher {
 public:
  static constexpr size_t kMaxStrings = 64;
  static constexpr size_t kMaxBytes = 4096;  // of one string

  StopMatcher() = default;
  // Throws kInvalidArgument for an empty string, too many or too long ones.
  explicit StopMatcher(std::vector<std::string> strings);

  // Takes a piece and appends to `out` what may be shown. True once a stop string is found: what stood before
  // it is in `out`, it and the rest are dropped, and no further piece is looked at.
  bool push(std::string_view piece, std::string& out);

  // The end of the text: appends what was held back.
  void finish(std::string& out);

  bool stopped() const { return matched_ != kNone; }
  // The string that was found; empty before.
  std::string_view matched() const;

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  // The stop string that `held_` ends with, or kNone.
  size_t longest_match() const;
  size_t held_prefix() const;

  std::vector<std::string> strings_;  // longest first
  std::string held_;
  size_t matched_ = kNone;
};

}  // namespace llmhost::engine
