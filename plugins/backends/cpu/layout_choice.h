// Whether a weight is packed: the packed layout is for many tokens, and must not cost the step of one token
// that generation is made of. So the two are timed on some rows of the weight itself, once for each type and
// depth.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "kernels/kernels.h"

namespace llmhost::cpu {

enum class Layout { kMeasured, kPacked, kStored };

class LayoutChoice {
 public:
  explicit LayoutChoice(Layout layout = Layout::kMeasured) : layout_(layout) {}

  bool may_pack() const { return layout_ != Layout::kStored; }

  // `stored` has rows of `depth` elements of the type; null when only sizes are asked for, which are then
  // those of the packed layout. Weights of a few rows, which fill no group, are packed. [control]
  bool packs(const Kernels& kernels, llmh_dtype dtype, const uint8_t* stored, int64_t rows, int64_t depth);

 private:
  Layout layout_;
  std::map<std::pair<llmh_dtype, int64_t>, bool> measured_;
};

}  // namespace llmhost::cpu
