// The time that strftime_now shows: the system's local time, or one that the caller gives.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>

namespace llmhost::text::jinja {

class Clock {
 public:
  Clock() = default;  // the system's
  // "2024-07-26T14:05:09", with an optional fraction, zone ("Z", "+02:00": kept as is, not converted) or
  // without a time.
  static Clock at(std::string_view iso);                // throws llmhost::Error
  std::string format(const std::string& format) const;  // Python's strftime

 private:
  std::optional<std::tm> fixed_;
  long microseconds_ = 0;
};

}  // namespace llmhost::text::jinja
