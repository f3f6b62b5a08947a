#include "text/template/clock.h"

#include <chrono>
#include <cstdio>

#include "core/error.h"
#include "text/template/meter.h"

namespace llmhost::text::jinja {
namespace {

constexpr size_t kMaxFormat = 4096;

int number(std::string_view text, size_t at, size_t digits, std::string_view whole) {
  int value = 0;
  for (size_t i = at; i < at + digits; ++i) {
    if (i >= text.size() || text[i] < '0' || text[i] > '9')
      throw_invalid("now: '{}' is not an ISO time, write it as 2024-07-26T14:05:09", whole);
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

}  // namespace

Clock Clock::at(std::string_view iso) {
  std::tm time{};
  time.tm_year = number(iso, 0, 4, iso) - 1900;
  time.tm_mon = number(iso, 5, 2, iso) - 1;
  time.tm_mday = number(iso, 8, 2, iso);
  if (iso[4] != '-' || iso[7] != '-' || time.tm_mon < 0 || time.tm_mon > 11 || time.tm_mday < 1 ||
      time.tm_mday > 31)
    throw_invalid("now: '{}' is not an ISO time, write it as 2024-07-26T14:05:09", iso);
  Clock clock;
  if (iso.size() > 10) {
    time.tm_hour = number(iso, 11, 2, iso);
    time.tm_min = number(iso, 14, 2, iso);
    time.tm_sec = iso.size() > 16 && iso[16] == ':' ? number(iso, 17, 2, iso) : 0;
    for (size_t i = 20, unit = 100000; iso.size() > 19 && iso[19] == '.' && i < iso.size() && unit > 0;
         ++i, unit /= 10) {
      if (iso[i] < '0' || iso[i] > '9') break;
      clock.microseconds_ += (iso[i] - '0') * static_cast<long>(unit);
    }
    if (time.tm_hour > 23 || time.tm_min > 59 || time.tm_sec > 59)
      throw_invalid("now: '{}' is not an ISO time, write it as 2024-07-26T14:05:09", iso);
  }
  std::tm copy = time;
  copy.tm_hour = 12;
  timegm(&copy);  // fills in the day of the week and of the year
  time.tm_wday = copy.tm_wday;
  time.tm_yday = copy.tm_yday;
  clock.fixed_ = time;
  return clock;
}

std::string Clock::format(const std::string& format) const {
  if (format.size() > kMaxFormat) fail("the format of strftime_now is longer than {} bytes", kMaxFormat);
  std::tm time{};
  long microseconds = microseconds_;
  if (fixed_) {
    time = *fixed_;
  } else {
    const auto now = std::chrono::system_clock::now();
    const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
    microseconds = static_cast<long>(
        std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000);
    localtime_r(&seconds, &time);
  }
  // A naive datetime has no zone, and %f is Python's own.
  std::string spec;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      spec += format[i];
    } else if (format[i + 1] == 'f') {
      spec += fmt::format("{:06}", microseconds);
      ++i;
    } else if (format[i + 1] == 'z' || format[i + 1] == 'Z') {
      ++i;
    } else {
      spec += format[i];
      spec += format[++i];
    }
  }
  if (spec.empty()) return {};
  std::string out(spec.size() * 64 + 64, '\0');
  out.resize(std::strftime(out.data(), out.size(), spec.c_str(), &time));
  return out;
}

}  // namespace llmhost::text::jinja
