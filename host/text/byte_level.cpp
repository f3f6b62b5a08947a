#include "text/byte_level.h"

#include <array>

#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

struct Tables {
  std::array<std::string, 256> character;  // byte -> UTF-8
  std::array<int16_t, 0x180> byte;         // code point -> byte, -1 where none
  Tables() {
    byte.fill(-1);
    char32_t next = 0x100;  // bytes without a printable Latin-1 character are numbered from here
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = printable ? static_cast<char32_t>(b) : next++;
      append_utf8(character[static_cast<size_t>(b)], code);
      byte[code] = static_cast<int16_t>(b);
    }
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

}  // namespace

void append_bytes_as_characters(std::string_view bytes, std::string& out) {
  const Tables& t = tables();
  for (const char c : bytes) out += t.character[static_cast<uint8_t>(c)];
}

std::string bytes_to_characters(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  append_bytes_as_characters(bytes, out);
  return out;
}

bool append_characters_as_bytes(std::string_view piece, std::string& out) {
  const Tables& t = tables();
  const size_t before = out.size();
  for (size_t i = 0; i < piece.size();) {
    const Utf8Char c = utf8_at(piece, i);
    if (!c.valid || c.code >= t.byte.size() || t.byte[c.code] < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(t.byte[c.code]);
    i += c.length;
  }
  return true;
}

}  // namespace llmhost::text
