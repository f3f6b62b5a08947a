#include "engine/pages.h"

#include "core/error.h"

namespace llmhost::engine {

PageAllocator::PageAllocator(int32_t n_pages) {
  if (n_pages <= 0) throw_invalid("state pages: got {}, expected at least 1", n_pages);
  holders_.assign(static_cast<size_t>(n_pages), 0);
  free_.reserve(static_cast<size_t>(n_pages));
  for (int32_t page = n_pages - 1; page >= 0; --page) free_.push_back(page);
}

int32_t PageAllocator::allocate() {
  if (free_.empty()) return kNone;
  const int32_t page = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(page)] = 1;
  return page;
}

int32_t& PageAllocator::checked(int32_t page) {
  if (page < 0 || page >= n_pages() || holders_[static_cast<size_t>(page)] == 0)
    throw_error(ErrorCode::kInternal, "state page {} is used by nobody: the page tables are damaged", page);
  return holders_[static_cast<size_t>(page)];
}

void PageAllocator::retain(int32_t page) {
  ++checked(page);
}

void PageAllocator::release(int32_t page) {
  if (--checked(page) == 0) free_.push_back(page);
}

bool PageTable::grow_to(int32_t n_pages, PageAllocator& allocator) {
  if (n_pages - size() > allocator.n_free()) return false;
  while (size() < n_pages) pages_.push_back(allocator.allocate());
  return true;
}

void PageTable::shrink_to(int32_t n_pages, PageAllocator& allocator) {
  while (size() > n_pages) {
    allocator.release(pages_.back());
    pages_.pop_back();
  }
}

}  // namespace llmhost::engine
