#include "engine/stops.h"

#include <algorithm>

#include "core/error.h"

namespace llmhost::engine {

StopMatcher::StopMatcher(std::vector<std::string> strings) : strings_(std::move(strings)) {
  if (strings_.size() > kMaxStrings)
    throw_invalid("stop: got {} strings, expected at most {}", strings_.size(), kMaxStrings);
  for (const std::string& text : strings_) {
    if (text.empty()) throw_invalid("stop: got an empty string, expected at least one character");
    if (text.size() > kMaxBytes)
      throw_invalid("stop: got a string of {} bytes, expected at most {}", text.size(), kMaxBytes);
  }
  std::stable_sort(strings_.begin(), strings_.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  if (!strings_.empty()) held_.reserve(2 * strings_.front().size());
}

std::string_view StopMatcher::matched() const {
  return stopped() ? std::string_view(strings_[matched_]) : std::string_view();
}

size_t StopMatcher::longest_match() const {
  for (size_t i = 0; i < strings_.size(); ++i)
    if (held_.ends_with(strings_[i])) return i;
  return kNone;
}

// How many bytes at the end of held_ may begin a stop string.
size_t StopMatcher::held_prefix() const {
  size_t longest = 0;
  for (const std::string& text : strings_) {
    for (size_t n = std::min(text.size() - 1, held_.size()); n > longest; --n) {
      if (held_.compare(held_.size() - n, n, text, 0, n) != 0) continue;
      longest = n;
      break;
    }
  }
  return longest;
}

bool StopMatcher::push(std::string_view piece, std::string& out) {
  if (stopped()) return true;
  if (strings_.empty()) {
    out.append(piece);
    return false;
  }
  for (const char byte : piece) {
    held_.push_back(byte);
    matched_ = longest_match();
    if (stopped()) {
      out.append(held_, 0, held_.size() - strings_[matched_].size());
      held_.clear();
      return true;
    }
    const size_t keep = held_prefix();
    out.append(held_, 0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
  }
  return false;
}

void StopMatcher::finish(std::string& out) {
  out.append(held_);
  held_.clear();
}

}  // namespace llmhost::engine
