// Gradients on their way: what several readers of a tensor gave is summed in the order in which they gave it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "graph/emit.h"

namespace llmhost::graph {

// The gradient of one tensor so far.
class GradientSum {
 public:
  void add(Emit& emit, llmh_tensor gradient);
  // Of elements [begin, end) along the axis. Slices that lie side by side are joined rather than summed.
  void add_slice(size_t axis, int64_t begin, int64_t end, llmh_tensor gradient);
  // 1 everywhere: the start of the backward part.
  void set_to_one() { is_one_ = true; }

  bool is_one() const { return is_one_; }
  // The whole, of these dimensions.
  llmh_tensor total(Emit& emit, const Dims& dims);

 private:
  struct Slice {
    size_t axis;
    int64_t begin;
    int64_t end;
    llmh_tensor gradient;
  };

  llmh_tensor joined(Emit& emit, size_t first, size_t last) const;
  void add_slices(Emit& emit, const Dims& dims);

  llmh_tensor whole_ = LLMH_NO_TENSOR;
  bool is_one_ = false;
  std::vector<Slice> slices_;
};

}  // namespace llmhost::graph
