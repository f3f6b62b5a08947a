// The bytes of tokens, found by decoding: how each format writes spaces, bytes and words is the decoder's
// business alone.
#include <optional>
#include <random>

#include "core/error.h"
#include "text/byte_level.h"
#include "text/grammar/vocabulary.h"
#include "text/tokenizer.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text::grammar {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

class Reader {
 public:
  explicit Reader(const Tokenizer& tokenizer) : tokenizer_(tokenizer) { find_anchor(); }

  TokenTexts read() {
    const auto n = static_cast<size_t>(tokenizer_.vocab_size());
    TokenTexts texts{std::vector<std::string>(n), std::vector<std::string>(n)};
    for (size_t i = 0; i < n; ++i) {
      const auto id = static_cast<int32_t>(i);
      if (is_no_text(id)) continue;
      texts.later[i] = bytes_of(id, added_later(id));
      texts.first[i] = bytes_of(id, added_first(id));
    }
    check_joins(texts);
    return texts;
  }

 private:
  bool is_no_text(int32_t id) const { return tokenizer_.is_special(id) || tokenizer_.is_control(id); }

  std::string decode(std::initializer_list<int32_t> ids) const {
    return tokenizer_.decode(std::span(ids.begin(), ids.size()), {.skip_special = true});
  }

  // A token of one letter that keeps what stands beside it from meeting the ends of the text.
  void find_anchor() {
    for (int32_t id = 0; id < tokenizer_.vocab_size(); ++id) {
      if (is_no_text(id)) continue;
      const std::string once = decode({id});
      if (once.size() != 1 || once[0] < 'a' || once[0] > 'z') continue;
      const std::string twice = decode({id, id});
      if (twice.size() <= 1 || !twice.starts_with(once) || !twice.ends_with(once)) continue;
      anchor_ = id;
      anchor_first_ = once;
      anchor_later_ = twice.substr(1);
      return;
    }
    throw_error(
        ErrorCode::kUnimplemented,
        "structured output: the tokenizer has no token of one letter that its decoder leaves as it is");
  }

  // What the token adds between two others, if it adds the same at the end of the text.
  std::optional<std::string> added_later(int32_t id) const {
    const std::string text = decode({anchor_, id, anchor_});
    const size_t ends = anchor_first_.size() + anchor_later_.size();
    if (text.size() < ends || !text.starts_with(anchor_first_) || !text.ends_with(anchor_later_))
      return std::nullopt;
    std::string added = text.substr(anchor_first_.size(), text.size() - ends);
    if (decode({anchor_, id}) != anchor_first_ + added) return std::nullopt;
    return added;
  }

  std::optional<std::string> added_first(int32_t id) const {
    const std::string text = decode({id, anchor_});
    if (text.size() < anchor_later_.size() || !text.ends_with(anchor_later_)) return std::nullopt;
    std::string added = text.substr(0, text.size() - anchor_later_.size());
    if (decode({id}) != added) return std::nullopt;
    return added;
  }

  // Where characters are incomplete the text does not show the bytes, but tells whether a reading of the
  // piece is right.
  std::string bytes_of(int32_t id, const std::optional<std::string>& text) const {
    if (!text) return {};
    if (text->find(kReplacement) == std::string::npos) return *text;
    const std::string piece = tokenizer_.piece_of(id);
    std::string bytes;
    if (const int byte = byte_of_piece(piece); byte >= 0) {
      bytes = static_cast<char>(byte);
    } else if (!append_characters_as_bytes(piece, bytes) || replace_invalid_utf8(bytes) != *text) {
      bytes = piece;
    }
    return replace_invalid_utf8(bytes) == *text ? bytes : std::string();
  }

  // Sequences must decode to the bytes of their tokens one after the other.
  void check_joins(const TokenTexts& texts) const {
    std::vector<int32_t> usable;
    for (size_t i = 0; i < texts.later.size(); ++i)
      if (!texts.later[i].empty()) usable.push_back(static_cast<int32_t>(i));
    if (usable.empty()) usable.push_back(anchor_);
    std::mt19937 random(1);
    constexpr int kRounds = 500;
    for (int round = 0; round < kRounds; ++round) {
      std::vector<int32_t> ids{anchor_};
      std::string expected = anchor_first_;
      for (int i = 0; i < 8; ++i) {
        ids.push_back(i % 4 == 3 ? ids.back() : usable[random() % usable.size()]);
        expected += texts.later[static_cast<size_t>(ids.back())];
      }
      if (tokenizer_.decode(ids, {.skip_special = true}) != replace_invalid_utf8(expected) &&
          is_valid_utf8(expected))
        throw_error(
            ErrorCode::kUnimplemented,
            "structured output: the tokenizer's decoder changes text across tokens (it removes spaces "
            "or repetitions), so that no mask could promise what the text will be");
    }
  }

  const Tokenizer& tokenizer_;
  int32_t anchor_ = 0;
  std::string anchor_first_;
  std::string anchor_later_;
};

}  // namespace

TokenTexts read_token_texts(const Tokenizer& tokenizer) {
  return Reader(tokenizer).read();
}

}  // namespace llmhost::text::grammar
