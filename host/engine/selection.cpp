#include "engine/selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/vectors.h"

namespace llmhost::engine {
namespace {

// Bits that order like the float does, as unsigned.
uint32_t ordered_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value == 0 ? 0.0F : value);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

float from_ordered_bits(uint32_t bits) {
  return std::bit_cast<float>((bits & 0x80000000U) != 0 ? bits & 0x7FFFFFFFU : ~bits);
}

// e^x for x <= 0 with selects instead of branches, so that loops over it are vectorised.
inline double exp_without_branch(double x) {
  constexpr double kInverseLn2 = 1.4426950408889634;
  constexpr double kLn2High = 6.93147180369123816490e-01;  // ln 2 in two parts: n * high is exact
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  constexpr double kRound = 0x1.8p52;  // adding it rounds to an integer, which stands in the low bits then
  const double bounded = x > -700.0 ? x : -700.0;
  const double shifted = bounded * kInverseLn2 + kRound;
  const double n = shifted - kRound;
  const double r = (bounded - n * kLn2High) - n * kLn2Low;
  // Taylor to degree 12: |r| <= ln 2 / 2, so what is cut off is below 2e-16.
  double sum = 1.0 / 479001600;
  sum = sum * r + 1.0 / 39916800;
  sum = sum * r + 1.0 / 3628800;
  sum = sum * r + 1.0 / 362880;
  sum = sum * r + 1.0 / 40320;
  sum = sum * r + 1.0 / 5040;
  sum = sum * r + 1.0 / 720;
  sum = sum * r + 1.0 / 120;
  sum = sum * r + 1.0 / 24;
  sum = sum * r + 1.0 / 6;
  sum = sum * r + 1.0 / 2;
  sum = (sum * r + 1.0) * r + 1.0;
  const uint64_t exponent = (std::bit_cast<uint64_t>(shifted) << 52) + (uint64_t{1023} << 52);
  const double result = sum * std::bit_cast<double>(exponent);
  return x > -700.0 ? result : 0.0;
}

// What exp() takes is turned into powers of 2: 2^((value - largest) * scale).
float power_scale(float inverse_temperature) {
  return inverse_temperature * 1.44269504F;
}

// In single precision, with selects instead of branches: 2^f as 1 + f * q(f) for |f| <= 1/2, with the q of
// degree 4 whose largest relative error is the least (1e-7, with roundings 2e-7). All of it is doubled, and
// the power of 2 halved: then the exponent's bias, 126, is even, and can be added with the rounding constant
// without a change to which integer is nearest.
//
// Several vectors go through it side by side, step by step: one step waits for the one before it, and what
// waits fills the core's queue.
constexpr int64_t kTogether = 4;
using FloatsTogether = Floats[kTogether];

LLMHOST_VECTOR_PART void horner_step(FloatsTogether& sum, const FloatsTogether& f, float coefficient) {
  for (int64_t j = 0; j < kTogether; ++j) sum[j] = sum[j] * f[j] + coefficient;
}

LLMHOST_VECTOR_PART void exp_lanes(const float* values, float largest, float scale, FloatsTogether& out) {
  constexpr float kRound = 0x1.8p23F + 126;  // adding it rounds to an integer, which stands in the low bits
  constexpr float kLeast = -120.0F;          // what is computed below it has no meaning and is not taken
  FloatsTogether x;
  FloatsTogether shifted;
  FloatsTogether f;
  FloatsTogether sum;
  for (int64_t j = 0; j < kTogether; ++j) load_lanes(values + j * kLanes, x[j]);
  for (int64_t j = 0; j < kTogether; ++j) x[j] = (x[j] - largest) * scale;
  for (int64_t j = 0; j < kTogether; ++j) shifted[j] = x[j] + kRound;
  for (int64_t j = 0; j < kTogether; ++j) f[j] = x[j] - (shifted[j] - kRound);
  for (int64_t j = 0; j < kTogether; ++j) sum[j] = f[j] * 0x1.5bba12p-9F + 0x1.3cea88p-6F;
  horner_step(sum, f, 0x1.c6b752p-4F);
  horner_step(sum, f, 0x1.ebf9bcp-2F);
  horner_step(sum, f, 0x1.62e42ap-0F);
  horner_step(sum, f, 2.0F);
  for (int64_t j = 0; j < kTogether; ++j) {
    const Words half_power = reinterpret_cast<Words>(shifted[j]) << 23;
    out[j] = x[j] > kLeast ? sum[j] * reinterpret_cast<Floats>(half_power) : Floats{};
  }
}

// One whole block.
LLMHOST_VECTOR_CLONES void exp_block(const float* values, float largest, float scale, float* out) {
  for (int64_t i = 0; i < LogitRow::kBlock; i += kTogether * kLanes) {
    FloatsTogether weights;
    exp_lanes(values + i, largest, scale, weights);
    std::memcpy(out + i, &weights, sizeof(weights));
  }
}

LLMHOST_VECTOR_CLONES float exp_block_sum(const float* values, float largest, float scale) {
  Floats sums = {};
  for (int64_t i = 0; i < LogitRow::kBlock; i += kTogether * kLanes) {
    FloatsTogether weights;
    exp_lanes(values + i, largest, scale, weights);
    for (const Floats& lanes : weights) sums += lanes;
  }
  return sum_of_lanes(sums);
}

// Sets the bits of the values that reach the bound. Eight flags become eight bits by one product, which moves
// the flag of byte i to bit 56 + i.
LLMHOST_VECTOR_CLONES void reach_block(const float* values, float bound, uint64_t* reached) {
  for (int64_t word = 0; word < LogitRow::kBlock / 64; ++word) {
    uint8_t flags[64];
    for (int64_t i = 0; i < 64; ++i) flags[i] = values[word * 64 + i] >= bound ? 1 : 0;
    static_assert(std::endian::native == std::endian::little);
    uint64_t bits = 0;
    for (int64_t byte = 0; byte < 8; ++byte) {
      uint64_t eight = 0;
      std::memcpy(&eight, flags + byte * 8, sizeof(eight));
      bits |= ((eight * 0x0102040810204080U) >> 56) << (byte * 8);
    }
    reached[word] = bits;
  }
}

// A block as whole as exp_block and exp_block_sum want it: what is missing weighs nothing.
struct WholeBlock {
  explicit WholeBlock(std::span<const float> values) : data(values.data()) {
    if (values.size() == LogitRow::kBlock) return;
    std::fill(padded, padded + LogitRow::kBlock, std::numeric_limits<float>::lowest());
    std::copy(values.begin(), values.end(), padded);
    data = padded;
  }
  const float* data;
  float padded[LogitRow::kBlock];
};

// The sum of exp(values - largest) in double.
LLMHOST_VECTOR_CLONES double exp_sum_double(const float* values, int64_t n, double largest) {
  double exps[LogitRow::kBlock] = {};
  double lanes[8] = {};
  for (int64_t begin = 0; begin < n; begin += LogitRow::kBlock) {
    const int64_t count = std::min(LogitRow::kBlock, n - begin);
    for (int64_t i = 0; i < count; ++i)
      exps[i] = exp_without_branch(static_cast<double>(values[begin + i]) - largest);
    for (int64_t i = 0; i < count; ++i) lanes[i % 8] += exps[i];
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace

Candidate make_candidate(float logit, int32_t token) {
  return (uint64_t{~ordered_bits(logit)} << 32) | static_cast<uint32_t>(token);
}

int32_t candidate_token(Candidate candidate) {
  return static_cast<int32_t>(candidate & 0xFFFFFFFFU);
}

float candidate_logit(Candidate candidate) {
  return from_ordered_bits(~static_cast<uint32_t>(candidate >> 32));
}

double exp_nonpositive(double x) {
  return exp_without_branch(x);
}

void exp_values(std::span<const float> values, float largest, float inverse_temperature,
                std::span<float, LogitRow::kBlock> out) {
  const WholeBlock block(values);
  exp_block(block.data, largest, power_scale(inverse_temperature), out.data());
}

float exp_sum(std::span<const float> values, float largest, float inverse_temperature) {
  const WholeBlock block(values);
  return exp_block_sum(block.data, largest, power_scale(inverse_temperature));
}

double log_sum_exp(std::span<const float> row, double largest) {
  return largest + std::log(exp_sum_double(row.data(), static_cast<int64_t>(row.size()), largest));
}

Selector::Selector(int64_t vocab_size) {
  block_order_.reserve(static_cast<size_t>((vocab_size + LogitRow::kBlock - 1) / LogitRow::kBlock));
  candidates_.reserve(static_cast<size_t>(vocab_size));
}

float Selector::lower_bound_of_largest(const LogitRow& row, int64_t k) {
  if (k >= row.n_blocks()) return -std::numeric_limits<float>::infinity();
  // The k largest block maxima are k elements, so the k-th largest element is no smaller than the k-th of
  // them.
  block_order_.assign(row.block_maxima().begin(), row.block_maxima().end());
  std::nth_element(block_order_.begin(), block_order_.begin() + (k - 1), block_order_.end(),
                   std::greater<>());
  return block_order_[static_cast<size_t>(k - 1)];
}

std::span<const Candidate> Selector::largest(const LogitRow& row, int64_t k) {
  k = std::min(k, row.size());
  candidates_.clear();
  if (k <= 0) return {};
  const float bound = lower_bound_of_largest(row, k);
  for (int64_t i = 0; i < row.n_blocks(); ++i)
    if (row.block_maxima()[static_cast<size_t>(i)] >= bound)
      collect(row.block(i), i * LogitRow::kBlock, bound);
  if (k < static_cast<int64_t>(candidates_.size())) {
    std::nth_element(candidates_.begin(), candidates_.begin() + (k - 1), candidates_.end());
    candidates_.resize(static_cast<size_t>(k));
  }
  std::sort(candidates_.begin(), candidates_.end());
  return candidates_;
}

void Selector::collect(std::span<const float> values, int64_t first, float bound) {
  const WholeBlock block(values);
  uint64_t reached[LogitRow::kBlock / 64];
  reach_block(block.data, bound, reached);
  for (int64_t word = 0; word < LogitRow::kBlock / 64; ++word)
    for (uint64_t left = reached[word]; left != 0; left &= left - 1) {
      const int64_t i = word * 64 + std::countr_zero(left);
      if (i >= static_cast<int64_t>(values.size())) return;  // padding, which reaches a bound of -infinity
      candidates_.push_back(make_candidate(block.data[i], static_cast<int32_t>(first + i)));
    }
}

}  // namespace llmhost::engine
