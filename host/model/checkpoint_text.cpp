#include "model/checkpoint_text.h"

#include <fmt/core.h>

#include <cstdint>

namespace llmhost::model {
namespace {

// Bytes of the UTF-8 sequence at the front of `text`; 0 when there is none.
size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  const uint8_t second = byte(1);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool surrogate = lead == 0xED && second >= 0xA0;
  const bool too_large = lead == 0xF4 && second >= 0x90;
  return overlong || surrogate || too_large ? 0 : length;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_sequence(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  std::string_view rest = text;
  while (!rest.empty() && text.size() - rest.size() < max_bytes) {
    const size_t length = utf8_sequence(rest);
    const auto first = static_cast<uint8_t>(rest[0]);
    if (length > 1 || (length == 1 && first >= 0x20 && first != 0x7F)) {
      out.append(rest.substr(0, length));
      rest.remove_prefix(length);
    } else {
      out += fmt::format("\\x{:02x}", first);
      rest.remove_prefix(1);
    }
  }
  if (!rest.empty()) out += "...";
  return out;
}

}  // namespace llmhost::model
