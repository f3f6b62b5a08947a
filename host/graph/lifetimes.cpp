#include "graph/lifetimes.h"

#include <algorithm>
#include <map>

#include "core/error.h"

namespace llmhost::graph {
namespace {

constexpr uint64_t kAlignment = 64;

uint64_t aligned(uint64_t bytes) {
  if (bytes > UINT64_MAX - kAlignment)
    throw_error(ErrorCode::kOutOfRange, "an activation of {} bytes is too large", bytes);
  // An empty tensor still has a place of its own.
  return std::max<uint64_t>((bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
}

// Free ranges of the arena, by offset; neighbours are merged.
class FreeList {
 public:
  // The smallest range that fits, else the end of the arena.
  uint64_t take(uint64_t bytes) {
    auto best = free_.end();
    for (auto range = free_.begin(); range != free_.end(); ++range)
      if (range->second >= bytes && (best == free_.end() || range->second < best->second)) best = range;
    if (best == free_.end()) return extend(bytes);
    const uint64_t offset = best->first;
    const uint64_t rest = best->second - bytes;
    free_.erase(best);
    if (rest > 0) free_.emplace(offset + bytes, rest);
    return offset;
  }

  void give_back(uint64_t offset, uint64_t bytes) {
    auto next = free_.upper_bound(offset);
    if (next != free_.end() && next->first == offset + bytes) {
      bytes += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      const auto previous = std::prev(next);
      if (previous->first + previous->second == offset) {
        previous->second += bytes;
        return;
      }
    }
    free_.emplace(offset, bytes);
  }

  uint64_t end() const { return end_; }

 private:
  // A free range at the end is used as the beginning of the new one.
  uint64_t extend(uint64_t bytes) {
    uint64_t offset = end_;
    if (!free_.empty()) {
      const auto last = std::prev(free_.end());
      if (last->first + last->second == end_) {
        offset = last->first;
        free_.erase(last);
      }
    }
    if (__builtin_add_overflow(offset, bytes, &end_))
      throw_error(ErrorCode::kOutOfRange, "the activations of the largest step need more than 64 bits count");
    return offset;
  }

  std::map<uint64_t, uint64_t> free_;
  uint64_t end_ = 0;
};

// By tensor: the last node that needs it; node_count() for outputs.
std::vector<uint32_t> last_uses(const Graph& graph) {
  std::vector<uint32_t> last(graph.tensor_count(), 0);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    for (const llmh_tensor input : inputs_of(graph.node(i)))
      if (input != LLMH_NO_TENSOR) last[static_cast<size_t>(input)] = i;
    for (const llmh_tensor output : outputs_of(graph.node(i))) last[static_cast<size_t>(output)] = i;
  }
  const llmh_graph& view = graph.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    last[static_cast<size_t>(view.outputs[i]->tensor)] = graph.node_count();
  return last;
}

}  // namespace

ArenaPlan plan_arena(const Graph& graph, const llmh_limits& limits) {
  const SymbolValues largest = values_of(limits);
  const auto last = last_uses(graph);
  std::vector<std::vector<llmh_tensor>> dying(graph.node_count() + size_t{1});
  std::vector<uint64_t> sizes(graph.tensor_count(), 0);
  ArenaPlan plan;
  plan.offsets.assign(graph.tensor_count(), kNoOffset);
  FreeList arena;
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    for (const llmh_tensor output : outputs_of(graph.node(i))) {
      const auto index = static_cast<size_t>(output);
      const llmh_tensor_info& info = graph.tensor(output);
      sizes[index] = aligned(byte_count(info.dtype, dims_of(info), largest));
      plan.offsets[index] = arena.take(sizes[index]);
      dying[last[index]].push_back(output);
    }
    for (const llmh_tensor tensor : dying[i])
      arena.give_back(plan.offsets[static_cast<size_t>(tensor)], sizes[static_cast<size_t>(tensor)]);
  }
  plan.bytes = arena.end();
  return plan;
}

}  // namespace llmhost::graph
