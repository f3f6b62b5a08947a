#include "graph/autodiff/gradients.h"

#include <algorithm>

namespace llmhost::graph {
namespace {

constexpr size_t kMostJoined = 16;  // inputs of CONCAT

}  // namespace

void GradientSum::add(Emit& emit, llmh_tensor gradient) {
  whole_ = whole_ == LLMH_NO_TENSOR ? gradient : emit.add(whole_, gradient);
}

void GradientSum::add_slice(size_t axis, int64_t begin, int64_t end, llmh_tensor gradient) {
  slices_.push_back({axis, begin, end, gradient});
}

// Slices [first, last), which lie side by side.
llmh_tensor GradientSum::joined(Emit& emit, size_t first, size_t last) const {
  std::vector<llmh_tensor> parts;
  for (size_t i = first; i < last; ++i) {
    if (parts.size() == kMostJoined) parts = {emit.concat(parts, slices_[first].axis)};
    parts.push_back(slices_[i].gradient);
  }
  return parts.size() == 1 ? parts[0] : emit.concat(parts, slices_[first].axis);
}

void GradientSum::add_slices(Emit& emit, const Dims& dims) {
  std::ranges::stable_sort(slices_, [](const Slice& a, const Slice& b) {
    return a.axis != b.axis ? a.axis < b.axis : a.begin < b.begin;
  });
  for (size_t first = 0; first < slices_.size();) {
    size_t last = first + 1;
    while (last < slices_.size() && slices_[last].axis == slices_[first].axis &&
           slices_[last].begin == slices_[last - 1].end)
      ++last;
    const Slice& run = slices_[first];
    llmh_tensor gradient = joined(emit, first, last);
    if (run.begin != 0 || slices_[last - 1].end != dims[run.axis].size)
      gradient = emit.pad(gradient, run.axis, run.begin, dims[run.axis].size);
    add(emit, gradient);
    first = last;
  }
  slices_.clear();
}

llmh_tensor GradientSum::total(Emit& emit, const Dims& dims) {
  if (is_one_) {
    add(emit, emit.broadcast(emit.graph().scalar(1.0F), dims));
    is_one_ = false;
  }
  add_slices(emit, dims);
  return whole_;
}

}  // namespace llmhost::graph
