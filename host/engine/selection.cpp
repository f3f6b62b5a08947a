#include "engine/selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace llmhost::engine {
namespace {

constexpr int64_t kBlock = 64;

// Bits that order like the float does, as unsigned.
uint32_t ordered_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value == 0 ? 0.0F : value);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

float from_ordered_bits(uint32_t bits) {
  return std::bit_cast<float>((bits & 0x80000000U) != 0 ? bits & 0x7FFFFFFFU : ~bits);
}

// Sixteen running maxima, which the compiler keeps in vector registers; one would be a chain of dependent
// steps.
float maximum(const float* values, int64_t n) {
  constexpr int64_t kLanes = 16;
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, values[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
  float largest = lanes[0];
  for (const float lane : lanes) largest = std::max(largest, lane);
  for (; i < n; ++i) largest = std::max(largest, values[i]);
  return largest;
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

void exp_row(std::span<const float> row, double largest, double inverse_temperature, double* out) {
  for (size_t i = 0; i < row.size(); ++i)
    out[i] = exp_without_branch((static_cast<double>(row[i]) - largest) * inverse_temperature);
}

double sum_exp(std::span<const float> row, double largest, double inverse_temperature) {
  constexpr size_t kChunk = 512;
  double values[kChunk];
  double sums[4] = {};
  for (size_t begin = 0; begin < row.size(); begin += kChunk) {
    const size_t n = std::min(kChunk, row.size() - begin);
    std::fill(values, values + kChunk, 0.0);
    exp_row(row.subspan(begin, n), largest, inverse_temperature, values);
    for (size_t i = 0; i < kChunk; ++i) sums[i % 4] += values[i];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

int64_t find_not_finite(std::span<const float> row) {
  constexpr uint32_t kExponent = 0x7F800000U;
  const auto is_bad = [](float value) { return (std::bit_cast<uint32_t>(value) & kExponent) == kExponent; };
  uint32_t bad = 0;  // no branch inside, so that it is vectorised
  for (const float value : row) bad |= is_bad(value) ? 1U : 0U;
  if (bad == 0) return -1;
  return std::find_if(row.begin(), row.end(), is_bad) - row.begin();
}

int32_t argmax(std::span<const float> row) {
  const float largest = maximum(row.data(), static_cast<int64_t>(row.size()));
  return static_cast<int32_t>(std::find(row.begin(), row.end(), largest) - row.begin());
}

double log_sum_exp(std::span<const float> row) {
  const double largest = maximum(row.data(), static_cast<int64_t>(row.size()));
  return largest + std::log(sum_exp(row, largest, 1));
}

Selector::Selector(int64_t vocab_size) {
  const auto blocks = static_cast<size_t>((vocab_size + kBlock - 1) / kBlock);
  block_max_.reserve(blocks);
  block_order_.reserve(blocks);
  candidates_.reserve(static_cast<size_t>(vocab_size));
}

float Selector::lower_bound_of_largest(std::span<const float> row, int64_t k) {
  const auto n = static_cast<int64_t>(row.size());
  block_max_.clear();
  for (int64_t begin = 0; begin < n; begin += kBlock)
    block_max_.push_back(maximum(row.data() + begin, std::min(kBlock, n - begin)));
  if (k >= static_cast<int64_t>(block_max_.size())) return -std::numeric_limits<float>::infinity();
  // The k largest block maxima are k elements, so the k-th largest element is no smaller than the k-th of
  // them.
  block_order_.assign(block_max_.begin(), block_max_.end());
  std::nth_element(block_order_.begin(), block_order_.begin() + (k - 1), block_order_.end(),
                   std::greater<>());
  return block_order_[static_cast<size_t>(k - 1)];
}

std::span<const Candidate> Selector::largest(std::span<const float> row, int64_t k) {
  const auto n = static_cast<int64_t>(row.size());
  k = std::min(k, n);
  candidates_.clear();
  if (k <= 0) return {};
  const float bound = lower_bound_of_largest(row, k);
  for (size_t block = 0; block < block_max_.size(); ++block) {
    if (block_max_[block] < bound) continue;
    const int64_t begin = static_cast<int64_t>(block) * kBlock;
    for (int64_t i = begin; i < std::min(begin + kBlock, n); ++i)
      if (row[static_cast<size_t>(i)] >= bound)
        candidates_.push_back(make_candidate(row[static_cast<size_t>(i)], static_cast<int32_t>(i)));
  }
  if (k < static_cast<int64_t>(candidates_.size())) {
    std::nth_element(candidates_.begin(), candidates_.begin() + (k - 1), candidates_.end());
    candidates_.resize(static_cast<size_t>(k));
  }
  std::sort(candidates_.begin(), candidates_.end());
  return candidates_;
}

}  // namespace llmhost::engine
