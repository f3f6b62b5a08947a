#include "engine/pages.h"

#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "core/error.h"

using namespace llmhost::engine;

TEST_CASE("pages are handed out once and come back when their last holder lets go") {
  PageAllocator allocator(3);
  std::set<int32_t> pages;
  for (int i = 0; i < 3; ++i) pages.insert(allocator.allocate());
  CHECK(pages == std::set<int32_t>{0, 1, 2});
  CHECK(allocator.allocate() == PageAllocator::kNone);
  allocator.retain(1);
  allocator.release(1);
  CHECK(allocator.n_free() == 0);
  CHECK(allocator.holders(1) == 1);
  allocator.release(1);
  CHECK(allocator.n_free() == 1);
  CHECK(allocator.allocate() == 1);
}

TEST_CASE("a page that nobody holds cannot be released or retained") {
  PageAllocator allocator(2);
  CHECK_THROWS_AS(allocator.release(0), llmhost::Error);
  CHECK_THROWS_AS(allocator.retain(5), llmhost::Error);
  CHECK_THROWS_AS(PageAllocator(0), llmhost::Error);
}

namespace {

struct Watcher : PageWatcher {
  void page_used(int32_t page) override { used.push_back(page); }
  void page_unused(int32_t page) override { unused.push_back(page); }
  std::vector<int32_t> used;
  std::vector<int32_t> unused;
};

}  // namespace

TEST_CASE("a page that is kept is unused, not free, and comes back with its last keeper") {
  PageAllocator allocator(2);
  Watcher watcher;
  allocator.set_watcher(&watcher);
  const int32_t page = allocator.allocate();
  allocator.keep(page);
  CHECK_THROWS_AS(allocator.unkeep(allocator.allocate()), llmhost::Error);
  CHECK(allocator.n_unused() == 0);
  allocator.release(page);
  CHECK(allocator.n_unused() == 1);
  CHECK(allocator.n_free() == 0);
  CHECK_THROWS_AS(allocator.release(page), llmhost::Error);
  allocator.retain(page);
  CHECK(allocator.n_unused() == 0);
  allocator.release(page);
  allocator.unkeep(page);
  CHECK(allocator.n_free() == 1);
  CHECK(watcher.used == std::vector<int32_t>{page});
  CHECK(watcher.unused == std::vector<int32_t>{page, page});
}

TEST_CASE("the last page of a table becomes unused first") {
  PageAllocator allocator(3);
  Watcher watcher;
  allocator.set_watcher(&watcher);
  PageTable table;
  CHECK(table.grow_to(3, allocator));
  table.park(allocator);
  CHECK(watcher.unused == std::vector<int32_t>{2, 1, 0});
  table.shrink_parked_to(2, allocator);
  CHECK(allocator.n_free() == 1);
  table.unpark(allocator);
  CHECK(watcher.used == std::vector<int32_t>{0, 1});
  table.shrink_to(0, allocator);
  CHECK(allocator.n_free() == 3);
}

TEST_CASE("a page table grows all or nothing and shrinks from its end") {
  PageAllocator allocator(4);
  PageTable a;
  PageTable b;
  CHECK(a.grow_to(3, allocator));
  CHECK_FALSE(b.grow_to(2, allocator));
  CHECK(b.size() == 0);
  a.shrink_to(1, allocator);
  CHECK(b.grow_to(2, allocator));
  CHECK(allocator.n_free() == 1);
  CHECK(a.pages()[0] != b.pages()[0]);
  CHECK(pages_for(0, 32) == 0);
  CHECK(pages_for(32, 32) == 1);
  CHECK(pages_for(33, 32) == 2);
}
