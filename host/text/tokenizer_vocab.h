// Pieces and ids of one vocabulary: all pieces in one block of memory, found by hash. Built once, then
// [thread-safe].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::text {

class Vocab {
 public:
  static constexpr int32_t kNone = -1;

  void reserve(size_t pieces, size_t bytes);
  // A piece given twice keeps the later id for find(); an id given twice keeps the later piece.
  void add(int32_t id, std::string_view piece);
  // Call after the last add(); `source` names the file in errors about ids that lie far outside the
  // vocabulary.
  void build_index(std::string_view source);

  int32_t find(std::string_view piece) const;
  // Empty for an id that has no piece.
  std::string_view piece(int32_t id) const;
  bool has(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < by_id_.size() && by_id_[static_cast<size_t>(id)].used;
  }
  // Largest id plus one.
  int32_t size() const { return static_cast<int32_t>(by_id_.size()); }

 private:
  struct Entry {
    int32_t id;
    uint32_t length;
    size_t begin;
  };
  struct Span {
    size_t begin = 0;
    uint32_t length = 0;
    bool used = false;
  };
  struct Slot {  // repeats the span, which saves a cache miss in each lookup
    uint32_t hash = 0;
    int32_t id = kNone;
    uint32_t length = 0;
    size_t begin = 0;
  };
  bool holds(const Slot& slot, uint32_t hash, std::string_view text) const {
    return slot.hash == hash && std::string_view(arena_.data() + slot.begin, slot.length) == text;
  }

  std::string arena_;
  std::vector<Entry> added_;  // until build_index()
  std::vector<Span> by_id_;
  std::vector<Slot> slots_;
};

}  // namespace llmhost::text
