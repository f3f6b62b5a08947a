#include "engine/pages.h"

#include "core/error.h"

namespace llmhost::engine {

PageAllocator::PageAllocator(int32_t n_pages) {
  if (n_pages <= 0) throw_invalid("state pages: got {}, expected at least 1", n_pages);
  pages_.assign(static_cast<size_t>(n_pages), {});
  free_.reserve(static_cast<size_t>(n_pages));
  for (int32_t page = n_pages - 1; page >= 0; --page) free_.push_back(page);
  n_unused_ = n_pages;
}

int32_t PageAllocator::allocate() {
  if (free_.empty()) return kNone;
  const int32_t page = free_.back();
  free_.pop_back();
  pages_[static_cast<size_t>(page)].users = 1;
  --n_unused_;
  return page;
}

PageAllocator::Page& PageAllocator::checked(int32_t page) {
  if (page < 0 || page >= n_pages() || holders(page) == 0)
    throw_error(ErrorCode::kInternal, "state page {} is used by nobody: the page tables are damaged", page);
  return pages_[static_cast<size_t>(page)];
}

void PageAllocator::retain(int32_t page) {
  if (++checked(page).users > 1) return;
  --n_unused_;
  if (watcher_ != nullptr) watcher_->page_used(page);
}

void PageAllocator::release(int32_t page) {
  Page& released = checked(page);
  if (released.users == 0)
    throw_error(ErrorCode::kInternal, "state page {} is kept, not used: the page tables are damaged", page);
  if (--released.users > 0) return;
  ++n_unused_;
  if (released.keepers == 0)
    free_.push_back(page);
  else if (watcher_ != nullptr)
    watcher_->page_unused(page);
}

void PageAllocator::keep(int32_t page) {
  ++checked(page).keepers;
}

void PageAllocator::unkeep(int32_t page) {
  Page& given_up = checked(page);
  if (given_up.keepers == 0)
    throw_error(ErrorCode::kInternal, "state page {} is used, not kept: the page tables are damaged", page);
  if (--given_up.keepers == 0 && given_up.users == 0) free_.push_back(page);
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

void PageTable::append(int32_t page, PageAllocator& allocator) {
  allocator.retain(page);
  pages_.push_back(page);
}

void PageTable::replace(int32_t index, int32_t page, PageAllocator& allocator) {
  int32_t& place = pages_[static_cast<size_t>(index)];
  allocator.retain(page);
  allocator.release(place);
  place = page;
}

void PageTable::park(PageAllocator& allocator) {
  for (size_t i = pages_.size(); i-- > 0;) {
    allocator.keep(pages_[i]);
    allocator.release(pages_[i]);
  }
}

void PageTable::unpark(PageAllocator& allocator) {
  for (const int32_t page : pages_) {
    allocator.retain(page);
    allocator.unkeep(page);
  }
}

void PageTable::shrink_parked_to(int32_t n_pages, PageAllocator& allocator) {
  while (size() > n_pages) {
    allocator.unkeep(pages_.back());
    pages_.pop_back();
  }
}

}  // namespace llmhost::engine
