#include "text/tools/mark_reader.h"

#include <algorithm>

namespace llmhost::text {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool is_name(std::string_view text) {
  constexpr size_t kMaxName = 256;
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:").find(c) != std::string_view::npos ||
           static_cast<unsigned char>(c) >= 0x80;
  };
  return !text.empty() && text.size() <= kMaxName && std::all_of(text.begin(), text.end(), fits);
}

MarkPlace find_mark(std::string_view text, size_t from, std::span<const std::string> marks, bool whole) {
  for (size_t at = from; at < text.size(); ++at) {
    MarkPlace best{Got::kNo, at, 0, 0};
    bool open = false;  // a longer mark may still come out here
    for (size_t i = 0; i < marks.size(); ++i) {
      const std::string& mark = marks[i];
      if (mark.empty() || mark.front() != text[at]) continue;
      const std::string_view here = text.substr(at, mark.size());
      if (here == mark) {
        if (mark.size() > best.length) best = {Got::kYes, at, mark.size(), i};
      } else if (!whole && at + mark.size() > text.size() && mark.starts_with(here)) {
        open = true;
      }
    }
    if (open) return {Got::kMore, at, 0, 0};
    if (best.got == Got::kYes) return best;
  }
  return {whole ? Got::kNo : Got::kMore, text.size(), 0, 0};
}

void MarkReader::skip_space() {
  while (at < text.size() && is_space(text[at])) ++at;
}

Got MarkReader::literal(std::string_view mark) {
  const std::string_view here = rest().substr(0, mark.size());
  if (here == mark) {
    at += mark.size();
    return Got::kYes;
  }
  return !whole && here.size() < mark.size() && mark.starts_with(here) ? Got::kMore : Got::kNo;
}

Got MarkReader::until(std::span<const std::string> marks, std::string& before, size_t* which) {
  const MarkPlace place = find_mark(text, at, marks, whole);
  if (place.got != Got::kYes) return place.got;
  before.assign(text.substr(at, place.at - at));
  at = place.at + place.length;
  if (which != nullptr) *which = place.which;
  return Got::kYes;
}

}  // namespace llmhost::text
