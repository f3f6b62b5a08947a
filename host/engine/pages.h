// Pages of per-sequence state. The allocator knows numbers only: page p of every state slot belongs to
// whoever holds the id p. A page is in use by sequences, which may share it, and besides may be kept for
// later: one that is kept only counts as unused, since whoever keeps it gives it up when it is needed. The
// free list is a stack, every operation is O(1) and nothing is allocated after construction. One thread at a
// time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmhost::engine {

// Is told of kept pages that begin to be used, and of those that nobody uses any more.
class PageWatcher {
 public:
  virtual ~PageWatcher() = default;
  virtual void page_used(int32_t page) = 0;
  virtual void page_unused(int32_t page) = 0;  // may unkeep pages
};

class PageAllocator {
 public:
  static constexpr int32_t kNone = -1;

  explicit PageAllocator(int32_t n_pages);
  void set_watcher(PageWatcher* watcher) { watcher_ = watcher; }  // it must outlive the use of the pages

  int32_t allocate();         // a page used once, or kNone when none is free
  void retain(int32_t page);  // another user of a page that is used or kept
  void release(int32_t page);
  void keep(int32_t page);  // another keeper of a page that is used or kept
  void unkeep(int32_t page);

  int32_t n_pages() const { return static_cast<int32_t>(pages_.size()); }
  int32_t n_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t n_unused() const { return n_unused_; }  // free, or kept only
  int32_t users(int32_t page) const { return pages_.at(static_cast<size_t>(page)).users; }
  int32_t holders(int32_t page) const { return users(page) + pages_[static_cast<size_t>(page)].keepers; }

 private:
  struct Page {
    int32_t users = 0;
    int32_t keepers = 0;
  };

  Page& checked(int32_t page);

  std::vector<Page> pages_;    // [n_pages]
  std::vector<int32_t> free_;  // a stack; low ids are taken first
  int32_t n_unused_ = 0;
  PageWatcher* watcher_ = nullptr;
};

// Pages that `tokens` positions need.
inline int32_t pages_for(int64_t tokens, int32_t page_tokens) {
  return static_cast<int32_t>((tokens + page_tokens - 1) / page_tokens);
}

// The pages of one sequence in the order of its positions. All its users let go from the end, so that among
// the pages that become unused one never comes before those that follow it.
class PageTable {
 public:
  // Room for a sequence of this many pages, so that growing allocates nothing.
  void reserve(int32_t n_pages) { pages_.reserve(static_cast<size_t>(n_pages)); }
  // Grows to `n_pages`; false (and unchanged) when the allocator has too few.
  bool grow_to(int32_t n_pages, PageAllocator& allocator);
  // Gives back what is beyond the first `n_pages`, the last page first.
  void shrink_to(int32_t n_pages, PageAllocator& allocator);
  // Goes on with a page that is used or kept.
  void append(int32_t page, PageAllocator& allocator);
  // Uses another page, which is used or kept and holds the same, in the place of one.
  void replace(int32_t index, int32_t page, PageAllocator& allocator);

  // All pages kept rather than used, and back.
  void park(PageAllocator& allocator);
  void unpark(PageAllocator& allocator);
  void shrink_parked_to(int32_t n_pages, PageAllocator& allocator);

  int32_t size() const { return static_cast<int32_t>(pages_.size()); }
  int32_t operator[](int32_t index) const { return pages_[static_cast<size_t>(index)]; }
  std::span<const int32_t> pages() const { return pages_; }

 private:
  std::vector<int32_t> pages_;
};

}  // namespace llmhost::engine
