// The arithmetic of packed products (kernels/packed.h) in plain words, for tests.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/packed.h"

namespace llmhost::test {

// 32 elements of a row: codes without offset, scales and minima for 16 each.
struct WeightPart {
  int codes[32] = {};
  float scale[2] = {};
  float minimum[2] = {};
  bool has_halves = false;  // one scale for each 16
  bool has_minimum = false;
};

// Types that have a packed format.
const std::vector<llmh_dtype>& packed_types();

std::vector<WeightPart> parts_of_row(llmh_dtype dtype, const uint8_t* row, int64_t depth);

std::vector<cpu::ActivationBlock> quantised_row(const float* x, int64_t depth);

// `fused`: products are not rounded before they are added.
float packed_product(const std::vector<WeightPart>& w, const std::vector<cpu::ActivationBlock>& x,
                     bool fused);

}  // namespace llmhost::test
