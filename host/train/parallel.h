// Work on long arrays, in fixed ranges: what is computed never depends on how many threads there are. Private
// to the layer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "llmhost/plugin.h"

namespace llmhost::train {

constexpr size_t kRangeElements = size_t{1} << 16;

inline size_t range_count(size_t n) {
  return (n + kRangeElements - 1) / kRangeElements;
}

// body(item) for each item; it must not throw. `pool` may be null.
template <typename Body>
void for_items(const llmh_thread_pool* pool, size_t n_items, Body&& body) {
  if (pool == nullptr || n_items < 2) {
    for (size_t i = 0; i < n_items; ++i) body(i);
    return;
  }
  using Callable = std::remove_reference_t<Body>;
  pool->parallel_for(
      pool, static_cast<int64_t>(n_items),
      [](void* context, int64_t item, int32_t) {
        (*static_cast<Callable*>(context))(static_cast<size_t>(item));
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// body(begin, end) for each range of kRangeElements of [0, n).
template <typename Body>
void for_ranges(const llmh_thread_pool* pool, size_t n, Body&& body) {
  for_items(pool, range_count(n),
            [&](size_t i) { body(i * kRangeElements, std::min(n, (i + 1) * kRangeElements)); });
}

}  // namespace llmhost::train
