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

void set_minimum(WeightPart& part, float minimum) {
  part.has_minimum = true;
  part.minimum[0] = part.minimum[1] = minimum;
}

void parts_q4_0(const uint8_t* block, WeightPart* part) {
  nibbles(block + 2, 8, *part);
  set_scale(*part, load_f16(block));
}

void parts_q4_1(const uint8_t* block, WeightPart* part) {
  nibbles(block + 4, 0, *part);
  set_scale(*part, load_f16(block));
  set_minimum(*part, load_f16(block + 2));
}

void add_fifth_bits(const uint8_t* bits, WeightPart& part) {
  for (int i = 0; i < 32; ++i) part.codes[i] += ((bits[i / 8] >> (i % 8)) & 1) * 16;
}

void parts_q5_0(const uint8_t* block, WeightPart* part) {
  nibbles(block + 6, 16, *part);
  add_fifth_bits(block + 2, *part);
  set_scale(*part, load_f16(block));
}

void parts_q5_1(const uint8_t* block, WeightPart* part) {
  nibbles(block + 8, 0, *part);
  add_fifth_bits(block + 4, *part);
  set_scale(*part, load_f16(block));
  set_minimum(*part, load_f16(block + 2));
}

void parts_q8_0(const uint8_t* block, WeightPart* part) {
  for (int i = 0; i < 32; ++i) part->codes[i] = static_cast<int8_t>(block[2 + i]);
  set_scale(*part, load_f16(block));
}

void parts_i8_32(const uint8_t* block, WeightPart* part) {
  for (int i = 0; i < 32; ++i) part->codes[i] = static_cast<int8_t>(block[4 + i]);
  set_scale(*part, cpu::load_as<float>(block));
}

// n bits of element i of 256: 32 bytes hold those of 32 * 8 / n elements, in planes of 32.
int bits_of(const uint8_t* bytes, int i, int n) {
  const int run = 256 / n;
  return (bytes[i / run * 32 + i % 32] >> (i % run / 32 * n)) & ((1 << n) - 1);
}

int k_scale(const uint8_t* s, int j) {
  return j < 4 ? s[j] & 63 : (s[j + 4] & 15) + (s[j - 4] >> 6) * 16;
}

int k_minimum(const uint8_t* s, int j) {
  return j < 4 ? s[j + 4] & 63 : (s[j + 4] >> 4) + (s[j] >> 6) * 16;
}

template <bool kFive>
void parts_q4_or_q5_k(const uint8_t* block, WeightPart* parts) {
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < 32; ++i) {
      const int element = 32 * j + i;
      parts[j].codes[i] = bits_of(block + (kFive ? 48 : 16), element, 4);
      if (kFive) parts[j].codes[i] += bits_of(block + 16, element, 1) * 16;
    }
    set_scale(parts[j], load_f16(block) * static_cast<float>(k_scale(block + 4, j)));
    set_minimum(parts[j], -(load_f16(block + 2) * static_cast<float>(k_minimum(block + 4, j))));
  }
}

void parts_q6_k(const uint8_t* block, WeightPart* parts) {
  for (int i = 0; i < 256; ++i) {
    const int in_half = i % 128;
    const int low = (block[i / 128 * 64 + in_half % 64] >> (in_half / 64 * 4)) & 15;
    WeightPart& part = parts[i / 32];
    part.codes[i % 32] = low + bits_of(block + 128, i, 2) * 16 - 32;
    part.has_halves = true;
    part.scale[i / 16 % 2] =
        load_f16(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + i / 16]));
  }
}

void parts_q3_k(const uint8_t* block, WeightPart* parts) {
  for (int i = 0; i < 256; ++i) {
    const int j = i / 16;
    const int low = (block[96 + j % 8] >> (j / 8 * 4)) & 15;
    const int high = (block[104 + j % 4] >> (j / 4 * 2)) & 3;
    WeightPart& part = parts[i / 32];
    part.codes[i % 32] = bits_of(block + 32, i, 2) + bits_of(block, i, 1) * 4 - 4;
    part.has_halves = true;
    part.scale[j % 2] = load_f16(block + 108) * static_cast<float>(low + high * 16 - 32);
  }
}

void parts_q2_k(const uint8_t* block, WeightPart* parts) {
  for (int i = 0; i < 256; ++i) {
    const int j = i / 16;
    WeightPart& part = parts[i / 32];
    part.codes[i % 32] = bits_of(block + 16, i, 2);
    part.has_halves = part.has_minimum = true;
    part.scale[j % 2] = load_f16(block + 80) * static_cast<float>(block[j] & 15);
    part.minimum[j % 2] = -(load_f16(block + 82) * static_cast<float>(block[j] >> 4));
  }
}

constexpr int kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int kE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void look_up(const int* table, WeightPart& part) {
  for (int& code : part.codes) code = table[code];
}

void parts_iq4_nl(const uint8_t* block, WeightPart* part) {
  nibbles(block + 2, 0, *part);
  look_up(kIq4, *part);
  set_scale(*part, load_f16(block));
}

void parts_iq4_xs(const uint8_t* block, WeightPart* parts) {
  const int high = cpu::load_as<uint16_t>(block + 2);
  for (int j = 0; j < 8; ++j) {
    nibbles(block + 8 + 16 * j, 0, parts[j]);
    look_up(kIq4, parts[j]);
    const int scale = ((block[4 + j / 2] >> (j % 2 * 4)) & 15) + ((high >> (2 * j)) & 3) * 16 - 32;
    set_scale(parts[j], load_f16(block) * static_cast<float>(scale));
  }
}

void parts_mxfp4(const uint8_t* block, WeightPart* part) {
  nibbles(block + 1, 0, *part);
  look_up(kE2m1, *part);
  set_scale(*part, std::ldexp(1.0F, block[0] - 128));
}

void parts_nvfp4(const uint8_t* block, WeightPart* parts) {
  for (int p = 0; p < 4; ++p) {
    WeightPart& part = parts[p / 2];
    for (int i = 0; i < 16; ++i) {
      const uint8_t byte = block[4 + 8 * p + i % 8];
      part.codes[p % 2 * 16 + i] = kE2m1[i < 8 ? byte & 15 : byte >> 4];
    }
    const int exponent = (block[p] >> 3) & 15;
    const auto mantissa = static_cast<float>(block[p] & 7);
    part.has_halves = true;
    part.scale[p % 2] = exponent == 0 ? std::ldexp(mantissa, -10) : std::ldexp(8 + mantissa, exponent - 11);
    if (block[p] == 0x7F) part.scale[p % 2] = 0;
  }
}

using PartsFn = void (*)(const uint8_t*, WeightPart*);

PartsFn parts_function(llmh_dtype dtype) {
  switch (dtype) {
    case LLMH_DTYPE_Q4_0:
      return parts_q4_0;
    case LLMH_DTYPE_Q4_1:
      return parts_q4_1;
    case LLMH_DTYPE_Q5_0:
      return parts_q5_0;
    case LLMH_DTYPE_Q5_1:
      return parts_q5_1;
    case LLMH_DTYPE_Q8_0:
      return parts_q8_0;
    case LLMH_DTYPE_I8_32:
      return parts_i8_32;
    case LLMH_DTYPE_Q2_K:
      return parts_q2_k;
    case LLMH_DTYPE_Q3_K:
      return parts_q3_k;
    case LLMH_DTYPE_Q4_K:
      return parts_q4_or_q5_k<false>;
    case LLMH_DTYPE_Q5_K:
      return parts_q4_or_q5_k<true>;
    case LLMH_DTYPE_Q6_K:
      return parts_q6_k;
    case LLMH_DTYPE_IQ4_NL:
      return parts_iq4_nl;
    case LLMH_DTYPE_IQ4_XS:
      return parts_iq4_xs;
    case LLMH_DTYPE_MXFP4:
      return parts_mxfp4;
    case LLMH_DTYPE_NVFP4:
      return parts_nvfp4;
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
