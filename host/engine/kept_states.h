// States of finished requests, kept for a request that goes on with the same tokens (the next turn of a
// chat). They give way, the least recently kept first, as soon as running sequences need their pages.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "engine/pages.h"

namespace llmhost::engine {

class KeptStates {
 public:
  struct Claim {
    PageTable pages;
    int64_t computed = 0;  // positions that may be used as they are
  };

  // Takes over the pages of `tokens`, which are all computed. `prompt_length` is that of the request.
  void keep(uint64_t id, std::vector<int32_t> tokens, int64_t prompt_length, PageTable pages);

  // Gives the state of `id` to a sequence with this prompt, as far as both agree; at least the prompt's last
  // token is left to compute. Positions from `length_dependent_from` on are not reused. Unused pages are
  // released.
  Claim claim(uint64_t id, std::span<const int32_t> prompt, int64_t length_dependent_from,
              int32_t page_tokens, PageAllocator& allocator);

  // Pages that evict_one could free, all together.
  int32_t n_pages() const { return n_pages_; }
  bool evict_one(PageAllocator& allocator);  // false: nothing is kept
  void release(uint64_t id, PageAllocator& allocator);

 private:
  struct State {
    uint64_t id;
    std::vector<int32_t> tokens;
    int64_t prompt_length;
    PageTable pages;
  };

  std::list<State>::iterator find(uint64_t id);

  std::list<State> states_;  // oldest first
  int32_t n_pages_ = 0;
};

}  // namespace llmhost::engine
