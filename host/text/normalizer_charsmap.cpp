// SentencePiece's precompiled character map: uint32 size of the trie in bytes, the trie (a double array of
// uint32 units), then the replacement texts, each ended by a zero byte. All little-endian.
#include <cstring>
#include <optional>

#include "core/error.h"
#include "text/normalizer.h"

namespace llmhost::text {
namespace {

constexpr size_t kMaxGraphemeBytes = 6;  // longer graphemes are mapped character by character

class Charsmap final : public Normalizer {
 public:
  Charsmap(std::string_view blob, std::string_view where) {
    if (blob.size() < 4)
      throw_invalid("{}: {} bytes are too few for a precompiled character map", where, blob.size());
    uint32_t bytes = 0;
    std::memcpy(&bytes, blob.data(), 4);
    if (bytes % 4 != 0 || bytes > blob.size() - 4)
      throw_invalid("{}: the map's trie says {} bytes, {} are there; the file is damaged", where, bytes,
                    blob.size() - 4);
    units_.resize(bytes / 4);
    if (bytes != 0) std::memcpy(units_.data(), blob.data() + 4, bytes);
    texts_ = std::string(blob.substr(4 + bytes));
  }

  std::string apply(std::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = grapheme_end(text, begin);
      append_grapheme(text.substr(begin, end - begin), out);
      begin = end;
    }
    // The replacement texts are foreign bytes: later stages must see valid UTF-8.
    return is_valid_utf8(out) ? out : replace_invalid_utf8(out);
  }

 private:
  static size_t grapheme_end(std::string_view text, size_t begin) {
    Utf8Char c = utf8_at(text, begin);
    size_t end = begin + c.length;
    int32_t state = 0;
    while (end < text.size()) {
      const Utf8Char next = utf8_at(text, end);
      if (is_grapheme_break(c.code, next.code, state)) break;
      c = next;
      end += next.length;
    }
    return end;
  }

  void append_grapheme(std::string_view grapheme, std::string& out) const {
    if (grapheme.size() < kMaxGraphemeBytes) {
      if (const auto mapped = find(grapheme)) {
        out += *mapped;
        return;
      }
    }
    for (size_t i = 0; i < grapheme.size();) {
      const std::string_view character = grapheme.substr(i, utf8_at(grapheme, i).length);
      out += find(character).value_or(character);
      i += character.size();
    }
  }

  // The replacement of the shortest prefix of `key` that the trie holds.
  std::optional<std::string_view> find(std::string_view key) const {
    if (units_.empty()) return std::nullopt;
    size_t node = offset_of(units_[0]);
    for (const char ch : key) {
      const auto byte = static_cast<uint8_t>(ch);
      if (byte == 0) return std::nullopt;
      node ^= byte;
      if (node >= units_.size()) return std::nullopt;
      const uint32_t unit = units_[node];
      if ((unit & 0x800000FFU) != byte) return std::nullopt;
      const bool has_leaf = ((unit >> 8) & 1) != 0;
      node ^= offset_of(unit);
      if (!has_leaf) continue;
      if (node >= units_.size()) return std::nullopt;
      return text_at(units_[node] & 0x7FFFFFFFU);
    }
    return std::nullopt;
  }

  static size_t offset_of(uint32_t unit) { return size_t{unit >> 10} << ((unit & (1U << 9)) >> 6); }

  std::optional<std::string_view> text_at(size_t offset) const {
    if (offset >= texts_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(texts_).substr(offset);
    return rest.substr(0, rest.find('\0'));
  }

  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace

NormalizerPtr make_charsmap_normalizer(std::string_view blob, std::string_view where) {
  return std::make_unique<Charsmap>(blob, where);
}

}  // namespace llmhost::text
