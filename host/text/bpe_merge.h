// The merging loop shared by all byte-pair encodings: repeatedly joins the neighbouring pair of lowest rank
// (the leftmost of equal rank). O(n log n): a heap of candidate pairs over a doubly linked list of symbols.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace llmhost::text {

struct BpeSymbol {
  uint32_t begin = 0;   // byte offset in the word
  uint32_t length = 0;  // bytes; 0: merged into its left neighbour
  int32_t id = -1;      // -1: no token
  int32_t previous = -1;
  int32_t next = -1;
};

struct BpeMerge {
  uint32_t rank = 0;
  int32_t id = -1;  // -1: the pair does not merge
};

// `lookup(left, right)` gives the BpeMerge of two neighbours. Merged symbols get length 0.
template <class Lookup>
void merge_symbols(std::vector<BpeSymbol>& symbols, const Lookup& lookup) {
  struct Candidate {
    uint32_t rank;
    int32_t left;
    int32_t id;
    uint32_t length;                                // of both parts: differs once either has changed
    bool operator<(const Candidate& other) const {  // std heaps put the largest first
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const auto at = [&](int32_t i) -> BpeSymbol& { return symbols[static_cast<size_t>(i)]; };
  std::vector<Candidate> heap;
  heap.reserve(symbols.size());
  const auto consider = [&](int32_t left) {
    if (left < 0 || at(left).next < 0) return;
    const BpeSymbol& a = at(left);
    const BpeSymbol& b = at(a.next);
    const BpeMerge merge = lookup(a, b);
    if (merge.id >= 0) {
      heap.push_back({merge.rank, left, merge.id, a.length + b.length});
      std::push_heap(heap.begin(), heap.end());
    }
  };

  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    at(i).previous = i - 1;
    at(i).next = i + 1 < count ? i + 1 : -1;
  }
  for (int32_t i = 0; i + 1 < count; ++i) consider(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate c = heap.back();
    heap.pop_back();
    BpeSymbol& a = at(c.left);
    if (a.length == 0 || a.next < 0 || a.length + at(a.next).length != c.length) continue;
    BpeSymbol& b = at(a.next);
    a.length += b.length;
    a.id = c.id;
    a.next = b.next;
    b.length = 0;
    if (a.next >= 0) at(a.next).previous = c.left;
    consider(a.previous);
    consider(c.left);
  }
}

}  // namespace llmhost::text
