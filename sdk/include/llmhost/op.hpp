// Comfort over op.h for those who run graphs: a node's attributes whatever their age. Header-only.
#pragma once

#include <algorithm>
#include <cstring>

#include "llmhost/op.h"

namespace llmh {

// The attributes of a node as the struct of its op. Fields that their writer did not know, and all of them for an op
// without attributes, are 0; fields that this side does not know are left out. No allocation. [thread-safe]
template <typename Attrs>
Attrs node_attrs(const llmh_node& node) noexcept {
  Attrs attrs{};
  uint32_t stated = 0;
  if (node.attrs == nullptr || node.attrs_size < sizeof stated) return attrs;
  std::memcpy(&stated, node.attrs, sizeof stated);
  const size_t size = std::min(node.attrs_size, stated);
  std::memcpy(&attrs, node.attrs, std::min(size, sizeof attrs));
  return attrs;
}

}  // namespace llmh
