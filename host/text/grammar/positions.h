// Where texts stand in a grammar. A position is a set of (state, caller) items, the caller being the position
// that goes on when the state's rule ends: rules called at one place share what called them, so that the
// number of items stays small however many ways there are to read a text. Positions are numbered by content;
// the same number is the same position.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar/tables.h"

namespace llmhost::text::grammar {

class Positions {
 public:
  struct Item {
    int32_t state = 0;
    int32_t caller = 0;
    bool operator==(const Item&) const = default;
    auto operator<=>(const Item&) const = default;
  };
  static constexpr int32_t kNowhere = 0;  // no items: the text is not one of the grammar's
  static constexpr int32_t kEnd = 1;      // nothing may follow
  static constexpr int32_t kUnknown = 2;  // stands for any caller

  explicit Positions(const Grammar::Tables& tables);

  int32_t start();                // of a text
  int32_t inside(int32_t state);  // of a state whose caller is not known
  int32_t step(int32_t position, uint8_t byte) {
    const int32_t next = row(position)[tables_.class_of[byte]];
    return next >= 0 ? next : find_step(position, byte);
  }
  bool may_end(int32_t position) { return open(position).may_end; }
  // Whether the unknown caller may go on here.
  bool may_leave(int32_t position) { return open(position).may_leave; }
  // Kinds of bytes (token_trie.h) all of which lead back to the position itself.
  uint64_t loops(int32_t position);
  // Its items and those of callers that may go on here, but for what these call.
  std::span<const Item> items(int32_t position);

  // Work done since the last call of this, as far as it limits it: kResourceExhausted beyond.
  void begin_work() { work_ = 0; }
  void count_work(size_t steps) {
    work_ += steps;
    if (work_ > kMostWork) throw_work();
  }
  size_t n_bytes() const;
  // Forgets all positions but this one and what it needs; returns its new number. Is no work in that sense.
  int32_t keep_only(int32_t position);

 private:
  static constexpr size_t kMostWork = 4'000'000;
  static constexpr size_t kPositionWork = 128;  // for a new one
  static constexpr size_t kMostItems = 4096;
  static constexpr int32_t kEndState = -1;
  static constexpr int32_t kUnknownState = -2;

  struct Position {
    size_t first_item = 0;
    size_t n_items = 0;
    // Once it is opened: with what goes on and what is called.
    bool is_open = false;
    bool may_end = false;
    bool may_leave = false;
    bool has_loops = false;
    size_t first_open = 0;
    size_t n_here = 0;  // of those without what is called
    size_t n_open = 0;
    uint64_t loops = 0;
    int64_t row = -1;
  };

  int32_t intern(std::vector<Item>& items);
  Position& open(int32_t position);
  void add_returns(Position& at, std::vector<Item>& all);
  void add_calls(std::vector<Item>& all);
  void add_resolved(Item item, std::vector<Item>& out);
  int32_t* row(int32_t position);
  int32_t find_step(int32_t position, uint8_t byte);
  std::span<const Item> kernel(int32_t position) const;
  int32_t copy_from(const Positions& other, int32_t position, std::vector<int32_t>& copies);
  [[noreturn]] static void throw_work();
  void clear();

  const Grammar::Tables& tables_;
  std::vector<Position> positions_;
  std::vector<Item> items_;
  std::vector<int32_t> rows_;
  std::unordered_multimap<uint64_t, int32_t> numbers_;
  size_t work_ = 0;
};

}  // namespace llmhost::text::grammar
