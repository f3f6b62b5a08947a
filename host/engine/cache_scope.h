// What state computed for one request is good for.
#pragma once

#include <cstdint>

namespace llmhost::engine {

// `high` and `low` are a hash of everything but the tokens that the state depends on or that separates who
// may profit by it: the model's content, the adapter's content and scale, the template, the salt of the
// tenant. State is taken over only between requests whose scopes are equal. `tenant` is whose share of the
// cache the pages count against.
struct CacheScope {
  uint64_t high = 0;
  uint64_t low = 0;
  uint64_t tenant = 0;
  bool enabled = true;  // false: nothing is taken from the prefix cache nor left in it

  bool is_same(const CacheScope& other) const {
    return high == other.high && low == other.low && tenant == other.tenant;
  }
};

}  // namespace llmhost::engine
