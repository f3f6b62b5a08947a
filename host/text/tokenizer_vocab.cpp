#include "text/tokenizer_vocab.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "core/error.h"

namespace llmhost::text {
namespace {

// Real files leave gaps of a few thousand ids; more would only cost memory.
constexpr size_t kMaxUnusedIds = 1'000'000;

uint32_t hash_of(std::string_view piece) {
  const size_t h = std::hash<std::string_view>{}(piece);
  return static_cast<uint32_t>(h ^ (h >> 32));
}

}  // namespace

void Vocab::reserve(size_t pieces, size_t bytes) {
  added_.reserve(pieces);
  arena_.reserve(bytes);
}

void Vocab::add(int32_t id, std::string_view piece) {
  added_.push_back({id, static_cast<uint32_t>(piece.size()), arena_.size()});
  arena_.append(piece);
}

void Vocab::build_index(std::string_view source) {
  size_t size = 0;
  for (const Entry& e : added_) {
    if (e.id < 0) throw_invalid("{}: token id {} is negative; the vocabulary is damaged", source, e.id);
    size = std::max(size, static_cast<size_t>(e.id) + 1);
  }
  if (size > added_.size() + kMaxUnusedIds)
    throw_invalid("{}: token id {} in a vocabulary of {} pieces; the vocabulary is damaged", source, size - 1,
                  added_.size());
  by_id_.assign(size, {});
  slots_.assign(std::bit_ceil(added_.size() * 2 + 2), {});
  const size_t mask = slots_.size() - 1;
  for (const Entry& e : added_) {
    const std::string_view text(arena_.data() + e.begin, e.length);
    by_id_[static_cast<size_t>(e.id)] = {e.begin, e.length, true};
    const uint32_t hash = hash_of(text);
    size_t i = hash & mask;
    while (slots_[i].id != kNone && !holds(slots_[i], hash, text)) i = (i + 1) & mask;
    slots_[i] = {hash, e.id, e.length, e.begin};
  }
  added_ = {};
}

int32_t Vocab::find(std::string_view text) const {
  if (slots_.empty()) return kNone;
  const size_t mask = slots_.size() - 1;
  const uint32_t hash = hash_of(text);
  for (size_t i = hash & mask; slots_[i].id != kNone; i = (i + 1) & mask) {
    if (holds(slots_[i], hash, text)) return slots_[i].id;
  }
  return kNone;
}

std::string_view Vocab::piece(int32_t id) const {
  if (!has(id)) return {};
  const Span& span = by_id_[static_cast<size_t>(id)];
  return {arena_.data() + span.begin, span.length};
}

}  // namespace llmhost::text
