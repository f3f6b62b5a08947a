#include "text/bpe.h"

#include <bit>
#include <cstring>

#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

uint64_t key_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

size_t slot_of(uint64_t key, size_t mask) {
  key ^= key >> 32;
  key *= 0x9E3779B97F4A7C15U;
  return (key >> 20) & mask;
}

// Larger score, smaller rank: the bits of a float in an order that integers compare.
uint32_t rank_of_score(float score) {
  const auto bits = std::bit_cast<uint32_t>(score);
  const uint32_t ascending = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return ~ascending;
}

void append_alive(const std::vector<BpeSymbol>& symbols, std::vector<int32_t>& ids) {
  for (const BpeSymbol& s : symbols)
    if (s.length != 0) ids.push_back(s.id);
}

}  // namespace

void MergeTable::reserve(size_t merges) {
  grow(std::bit_ceil(merges * 2 + 2));
}

void MergeTable::grow(size_t slots) {
  std::vector<Slot> old(slots);
  old.swap(slots_);
  used_ = 0;
  for (const Slot& s : old)
    if (s.merge.id >= 0)
      add(static_cast<int32_t>(s.key >> 32), static_cast<int32_t>(s.key & 0xFFFFFFFFU), s.merge);
}

void MergeTable::add(int32_t left, int32_t right, BpeMerge merge) {
  if ((used_ + 1) * 2 > slots_.size()) grow(std::bit_ceil((used_ + 1) * 4));
  const uint64_t key = key_of(left, right);
  const size_t mask = slots_.size() - 1;
  size_t i = slot_of(key, mask);
  while (slots_[i].merge.id >= 0 && slots_[i].key != key) i = (i + 1) & mask;
  if (slots_[i].merge.id < 0) ++used_;
  slots_[i] = {key, merge};
}

BpeMerge MergeTable::find(int32_t left, int32_t right) const {
  if (slots_.empty() || left < 0 || right < 0) return {};
  const uint64_t key = key_of(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t i = slot_of(key, mask); slots_[i].merge.id >= 0; i = (i + 1) & mask)
    if (slots_[i].key == key) return slots_[i].merge;
  return {};
}

MergeBpe::MergeBpe(Vocab vocab, MergeTable merges, BpeConfig config)
    : vocab_(std::move(vocab)),
      merges_(std::move(merges)),
      config_(std::move(config)),
      bytes_(vocab_),
      unk_id_(config_.unk_token.empty() ? Vocab::kNone : vocab_.find(config_.unk_token)) {}

// One symbol a character. A character without a token becomes its bytes, or an unknown token that is written
// down only when the next known character comes (so that byte tokens overtake it, as in the reference).
std::vector<BpeSymbol> MergeBpe::symbols_of(std::string_view word) const {
  std::vector<BpeSymbol> symbols;
  symbols.reserve(word.size());
  const auto put = [&](size_t begin, size_t length, int32_t id) {
    symbols.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(length), id, -1, -1});
  };
  std::optional<std::pair<size_t, size_t>> unknown;  // begin, length
  std::string text;
  std::vector<int32_t> byte_ids;
  for (size_t i = 0; i < word.size();) {
    const size_t length = utf8_at(word, i).length;
    const bool first = i == 0;
    const bool last = i + length == word.size();
    std::string_view character = word.substr(i, length);
    if ((!first && !config_.continuing_prefix.empty()) || (last && !config_.word_suffix.empty())) {
      text.assign(first ? "" : config_.continuing_prefix);
      text += character;
      if (last) text += config_.word_suffix;
      character = text;
    }
    byte_ids.clear();
    if (const int32_t id = vocab_.find(character); id != Vocab::kNone) {
      if (unknown) put(unknown->first, unknown->second, unk_id_);
      unknown.reset();
      put(i, length, id);
    } else if (config_.byte_fallback && bytes_.append(character, byte_ids)) {
      for (const int32_t b : byte_ids) put(i, 1, b);
    } else if (unk_id_ != Vocab::kNone) {
      if (unknown && !config_.fuse_unk) put(unknown->first, unknown->second, unk_id_);
      unknown = unknown && config_.fuse_unk ? std::pair(unknown->first, unknown->second + length)
                                            : std::pair(i, length);
    }
    i += length;
  }
  if (unknown) put(unknown->first, unknown->second, unk_id_);
  return symbols;
}

void MergeBpe::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  if (config_.ignore_merges) {
    if (const int32_t id = vocab_.find(piece); id != Vocab::kNone) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<BpeSymbol> symbols = symbols_of(piece);
  merge_symbols(symbols, [&](const BpeSymbol& a, const BpeSymbol& b) { return merges_.find(a.id, b.id); });
  append_alive(symbols, ids);
}

void RankBpe::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  if (const int32_t id = vocab_.find(piece); id != Vocab::kNone) {
    ids.push_back(id);
    return;
  }
  std::vector<BpeSymbol> symbols(piece.size());
  for (uint32_t i = 0; i < piece.size(); ++i) symbols[i] = {i, 1, vocab_.find(piece.substr(i, 1)), -1, -1};
  merge_symbols(symbols, [&](const BpeSymbol& a, const BpeSymbol& b) {
    const int32_t id = vocab_.find(piece.substr(a.begin, a.length + b.length));
    return BpeMerge{static_cast<uint32_t>(id), id};
  });
  append_alive(symbols, ids);
}

ScoreBpe::ScoreBpe(Vocab vocab, std::vector<float> scores, std::optional<int32_t> unk)
    : vocab_(std::move(vocab)), scores_(std::move(scores)), bytes_(vocab_), unk_(unk) {}

void ScoreBpe::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  std::vector<BpeSymbol> symbols;
  symbols.reserve(piece.size());
  for (size_t i = 0; i < piece.size();) {
    const uint32_t length = utf8_at(piece, i).length;
    symbols.push_back({static_cast<uint32_t>(i), length, vocab_.find(piece.substr(i, length)), -1, -1});
    i += length;
  }
  merge_symbols(symbols, [&](const BpeSymbol& a, const BpeSymbol& b) {
    const int32_t id = vocab_.find(piece.substr(a.begin, a.length + b.length));
    if (id < 0) return BpeMerge{};
    return BpeMerge{rank_of_score(scores_[static_cast<size_t>(id)]), id};
  });
  for (const BpeSymbol& s : symbols) {
    if (s.length == 0) continue;
    if (s.id >= 0) {
      ids.push_back(s.id);
    } else if (!bytes_.append(piece.substr(s.begin, s.length), ids) && unk_) {
      ids.push_back(*unk_);
    }
  }
}

}  // namespace llmhost::text
