// What sampling is compared with: the chain written the obvious way.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "engine/sampling_params.h"

namespace llmhost::test {

using engine::SamplingParams;

inline std::vector<float> random_row(size_t n, uint32_t seed, float spread = 3.0F) {
  std::mt19937 random(seed);
  std::vector<float> row(n);
  for (float& value : row) value = spread * (static_cast<float>(random() % 20001U) / 10000.0F - 1.0F);
  return row;
}

// The chain after the penalties, written the obvious way: a full sort and no shortcuts.
inline std::vector<double> reference_distribution(const std::vector<float>& row,
                                                  const SamplingParams& params) {
  std::vector<size_t> order(row.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return row[a] > row[b]; });
  if (params.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(params.top_k)));
  std::vector<double> weights;
  for (size_t i : order)
    weights.push_back(std::exp((static_cast<double>(row[i]) - row[order[0]]) / params.temperature));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t kept = 0;
  for (double sum = 0; kept < weights.size() && (kept == 0 || sum < params.top_p * total); ++kept)
    sum += weights[kept];
  while (kept > 1 && weights[kept - 1] < params.min_p) --kept;
  const double sum =
      std::accumulate(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(kept), 0.0);
  std::vector<double> distribution(row.size(), 0.0);
  for (size_t i = 0; i < kept; ++i) distribution[order[i]] = weights[i] / sum;
  return distribution;
}

inline SamplingParams with(float temperature, int32_t top_k, float top_p, float min_p) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  return params;
}

// What chi-square with this many degrees of freedom passes with probability 0.001 (Wilson and Hilferty).
inline double chi_square_bound(int freedom) {
  const double v = 2.0 / (9.0 * freedom);
  return freedom * std::pow(1 - v + 3.09 * std::sqrt(v), 3);
}

}  // namespace llmhost::test
