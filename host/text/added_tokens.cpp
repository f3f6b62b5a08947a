#include "text/added_tokens.h"

#include <algorithm>

#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

// The character that ends at `position` (> 0) starts here.
size_t character_before(std::string_view text, size_t position) {
  size_t i = position - 1;
  while (i > 0 && (static_cast<uint8_t>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(utf8_at(text, character_before(text, text.size())).code);
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word(utf8_at(text, 0).code);
}

size_t before_trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t i = character_before(text, end);
    if (!is_white_space(utf8_at(text, i).code)) break;
    end = i;
  }
  return end;
}

size_t leading_space(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Utf8Char c = utf8_at(text, i);
    if (!is_white_space(c.code)) break;
    i += c.length;
  }
  return i;
}

}  // namespace

void StringMatcher::build(std::vector<std::string> strings) {
  sorted_.clear();
  for (size_t i = 0; i < strings.size(); ++i)
    if (!strings[i].empty()) sorted_.emplace_back(std::move(strings[i]), i);
  std::sort(sorted_.begin(), sorted_.end());
  sorted_.erase(
      std::unique(sorted_.begin(), sorted_.end(), [](auto& a, auto& b) { return a.first == b.first; }),
      sorted_.end());
  for (const auto& [text, index] : sorted_) first_[static_cast<uint8_t>(text[0])] = true;
}

std::pair<size_t, size_t> StringMatcher::longest_at(std::string_view text, size_t position) const {
  std::pair<size_t, size_t> best{kNone, 0};
  if (!first_[static_cast<uint8_t>(text[position])]) return best;
  auto low = sorted_.begin();
  auto high = sorted_.end();
  for (size_t length = 0; position + length < text.size() && low != high; ++length) {
    const auto byte = static_cast<uint8_t>(text[position + length]);
    const auto byte_of = [&](const auto& entry) {  // -1: the string ends before this byte
      return entry.first.size() > length ? static_cast<int>(static_cast<uint8_t>(entry.first[length])) : -1;
    };
    low = std::partition_point(low, high, [&](const auto& e) { return byte_of(e) < byte; });
    high = std::partition_point(low, high, [&](const auto& e) { return byte_of(e) <= byte; });
    if (low != high && low->first.size() == length + 1) best = {low->second, length + 1};
  }
  return best;
}

void AddedTokens::search(const AddedToken& token) {
  Set& set = token.normalized ? normalized_ : raw_;
  set.strings.push_back(token.decoded);
  set.token.push_back(static_cast<size_t>(&token - tokens_.data()));
}

void AddedTokens::finish() {
  raw_.matcher.build(std::move(raw_.strings));
  normalized_.matcher.build(std::move(normalized_.strings));
  for (size_t i = 0; i < tokens_.size(); ++i) {
    by_id_.emplace(tokens_[i].id, i);
    by_content_.emplace(tokens_[i].content, i);
  }
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto it = by_content_.find(content);
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

std::vector<AddedTokens::Segment> AddedTokens::split(std::string_view text, bool normalized,
                                                     bool parse_special) const {
  std::vector<Segment> out;
  const Set& set = normalized ? normalized_ : raw_;
  size_t covered = 0;
  for (size_t i = 0; !set.matcher.empty() && i < text.size();) {
    const auto [index, length] = set.matcher.longest_at(text, i);
    if (index == StringMatcher::kNone) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[set.token[index]];
    size_t begin = i;
    size_t end = i + length;
    i = end;  // matches do not overlap, also not those that are then rejected
    if (token.special && !parse_special) continue;
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end))))
      continue;
    if (token.lstrip) begin = std::max(before_trailing_space(text.substr(0, begin)), covered);
    if (token.rstrip) end += leading_space(text.substr(end));
    if (begin >= end) continue;  // the token before has taken all of it as its space
    if (covered < begin) out.push_back({text.substr(covered, begin - covered), -1, covered == 0});
    out.push_back({text.substr(begin, end - begin), token.id, begin == 0});
    covered = end;
  }
  if (covered < text.size()) out.push_back({text.substr(covered), -1, covered == 0});
  return out;
}

}  // namespace llmhost::text
