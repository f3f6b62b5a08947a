#include "text/tokenizer_model.h"

#include <fmt/format.h>

namespace llmhost::text {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

ByteTokens::ByteTokens(const Vocab& vocab) {
  for (unsigned b = 0; b < 256; ++b) ids[b] = vocab.find(fmt::format("<0x{:02X}>", b));
}

bool ByteTokens::append(std::string_view bytes, std::vector<int32_t>& out) const {
  for (const char c : bytes)
    if (ids[static_cast<uint8_t>(c)] == Vocab::kNone) return false;
  for (const char c : bytes) out.push_back(ids[static_cast<uint8_t>(c)]);
  return true;
}

int byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const int high = hex_digit(piece[3]);
  const int low = hex_digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace llmhost::text
