// Pages of per-sequence state. The allocator knows numbers only: page p of every state slot belongs to
// whoever holds the id p. Ids are counted, so that sequences may share a page; the free list is a stack,
// every operation is O(1) and nothing is allocated after construction. One thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmhost::engine {

class PageAllocator {
 public:
  static constexpr int32_t kNone = -1;

  explicit PageAllocator(int32_t n_pages);

  int32_t allocate();  // a page held once, or kNone when all are taken
  void retain(int32_t page);
  void release(int32_t page);  // back to the free list when nobody holds it any more

  int32_t n_pages() const { return static_cast<int32_t>(holders_.size()); }
  int32_t n_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t holders(int32_t page) const { return holders_.at(static_cast<size_t>(page)); }

 private:
  int32_t& checked(int32_t page);

  std::vector<int32_t> holders_;  // [n_pages]
  std::vector<int32_t> free_;     // a stack; low ids are taken first
};

// Pages that `tokens` positions need.
inline int32_t pages_for(int64_t tokens, int32_t page_tokens) {
  return static_cast<int32_t>((tokens + page_tokens - 1) / page_tokens);
}

// The pages of one sequence in the order of its positions.
class PageTable {
 public:
  // Room for a sequence of this many pages, so that growing allocates nothing.
  void reserve(int32_t n_pages) { pages_.reserve(static_cast<size_t>(n_pages)); }
  // Grows to `n_pages`; false (and unchanged) when the allocator has too few.
  bool grow_to(int32_t n_pages, PageAllocator& allocator);
  // Gives back what is beyond the first `n_pages`, the last page first.
  void shrink_to(int32_t n_pages, PageAllocator& allocator);

  int32_t size() const { return static_cast<int32_t>(pages_.size()); }
  std::span<const int32_t> pages() const { return pages_; }

 private:
  std::vector<int32_t> pages_;
};

}  // namespace llmhost::engine
