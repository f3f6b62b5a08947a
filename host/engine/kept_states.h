// States of finished requests, kept for a request that goes on with the same tokens (the next turn of a
// chat). They give way, the least recently kept first, as soon as running sequences need their pages.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "engine/cache_scope.h"
#include "engine/pages.h"

namespace llmhost::engine {

class KeptStates {
 public:
  struct Claim {
    PageTable pages;
    int64_t computed = 0;  // positions that may be used as they are
  };
  // Of whom the state is asked.
  struct Claimant {
    std::span<const int32_t> tokens;
    CacheScope scope;
    int64_t length_dependent_from = INT64_MAX;  // positions from there on are not taken over
    int32_t page_tokens = 1;
  };

  // Takes over the pages of `tokens`, which are all computed. `prompt_length` is that of the request.
  void keep(uint64_t id, const CacheScope& scope, std::vector<int32_t> tokens, int64_t prompt_length,
            PageTable pages, PageAllocator& allocator);

  bool has(uint64_t id) const;
  // Gives the state of `id` to a sequence, as far as both agree; at least its last token is left to compute.
  // Pages that are not used, and those in the middle of which both part while others hold them, are released.
  Claim claim(uint64_t id, const Claimant& claimant, PageAllocator& allocator);

  bool evict_one(PageAllocator& allocator);  // false: nothing is kept
  void release(uint64_t id, PageAllocator& allocator);

 private:
  struct State {
    uint64_t id;
    CacheScope scope;
    std::vector<int32_t> tokens;
    int64_t prompt_length;
    PageTable pages;
  };

  std::list<State>::iterator find(uint64_t id);

  std::list<State> states_;  // oldest first
};

}  // namespace llmhost::engine
