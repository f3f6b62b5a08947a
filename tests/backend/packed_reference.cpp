#include "packed_reference.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/half.h"

namespace llmhost::test {
namespace {

using cpu::load_f16;

void nibbles(const uint8_t* bytes, int offset, WeightPart& part) {
  for (int i = 0; i < 16; ++i) {
    part.codes[i] = (bytes[i] & 15) - offset;
    part.codes[16 + i] = (bytes[i] >> 4) - offset;
  }
}

void set_scale(WeightPart& part, float scale) {
  part.scale[0] = part.scale[1] = scale;
}

void parts_q4_0(const uint8_t* block, WeightPart* part) {
  nibbles(block + 2, 8, *part);
  set_scale(*part, load_f16(block));
}

void parts_q8_0(const uint8_t* block, WeightPart* part) {
  for (int i = 0; i < 32; ++i) part->codes[i] = static_cast<int8_t>(block[2 + i]);
  set_scale(*part, load_f16(block));
}

using PartsFn = void (*)(const uint8_t*, WeightPart*);

PartsFn parts_function(llmh_dtype dtype) {
  switch (dtype) {
    case LLMH_DTYPE_Q4_0:
      return parts_q4_0;
    case LLMH_DTYPE_Q8_0:
      return parts_q8_0;
    default:
      return nullptr;
  }
}

float add_product(float a, float b, float c, bool fused) {
  if (fused) return std::fma(a, b, c);
  const volatile float product = a * b;
  return product + c;
}

}  // namespace

const std::vector<llmh_dtype>& packed_types() {
  static const std::vector<llmh_dtype> types = [] {
    std::vector<llmh_dtype> result;
    for (llmh_dtype dtype = 0; dtype < LLMH_DTYPE_COUNT_; ++dtype)
      if (parts_function(dtype) != nullptr) result.push_back(dtype);
    return result;
  }();
  return types;
}

std::vector<WeightPart> parts_of_row(llmh_dtype dtype, const uint8_t* row, int64_t depth) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  std::vector<WeightPart> parts(static_cast<size_t>(depth / 32));
  for (int64_t k = 0; k < depth; k += layout.block_elements, row += layout.block_bytes)
    parts_function(dtype)(row, &parts[static_cast<size_t>(k / 32)]);
  return parts;
}

std::vector<cpu::ActivationBlock> quantised_row(const float* x, int64_t depth) {
  std::vector<cpu::ActivationBlock> blocks(static_cast<size_t>(depth / 32));
  for (cpu::ActivationBlock& block : blocks) {
    block = {};
    float greatest = 0;
    bool finite = true;
    for (int i = 0; i < 32; ++i) {
      greatest = std::fmax(greatest, std::fabs(x[i]));
      finite = finite && std::isfinite(x[i]);
    }
    int sums[2] = {0, 0};
    if (finite && greatest >= 0x1p-100F) {
      block.scale = greatest / 127.0F;
      const float inverse = 127.0F / greatest;
      for (int i = 0; i < 32; ++i) {
        block.q[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
        sums[i / 16] += block.q[i];
      }
    }
    if (!finite) block.scale = std::numeric_limits<float>::quiet_NaN();
    block.scaled_sum = block.scale * static_cast<float>(sums[0] + sums[1]);
    block.negative_sum = -(sums[0] + sums[1]);
    for (int half = 0; half < 2; ++half) {
      block.scaled_half_sums[half] = block.scale * static_cast<float>(sums[half]);
      block.negative_half_sums[half] = -sums[half];
    }
    x += 32;
  }
  return blocks;
}

float packed_product(const std::vector<WeightPart>& w, const std::vector<cpu::ActivationBlock>& x,
                     bool fused) {
  float acc = 0;
  for (size_t b = 0; b < w.size(); ++b) {
    int dots[2] = {0, 0};
    for (int i = 0; i < 32; ++i) dots[i / 16] += w[b].codes[i] * x[b].q[i];
    if (w[b].has_halves) {
      const volatile float first = static_cast<float>(dots[0]) * w[b].scale[0];
      const float sum = add_product(static_cast<float>(dots[1]), w[b].scale[1], first, fused);
      acc = add_product(sum, x[b].scale, acc, fused);
      for (int half = 0; half < 2 && w[b].has_minimum; ++half)
        acc = add_product(w[b].minimum[half], x[b].scaled_half_sums[half], acc, fused);
    } else {
      const volatile float scale = w[b].scale[0] * x[b].scale;
      acc = add_product(static_cast<float>(dots[0] + dots[1]), scale, acc, fused);
      if (w[b].has_minimum) acc = add_product(w[b].minimum[0], x[b].scaled_sum, acc, fused);
    }
  }
  return acc;
}

}  // namespace llmhost::test
