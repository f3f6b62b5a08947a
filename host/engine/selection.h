// Numeric kernels over rows of logits: the same bits on every machine (own exponentials, fixed order of sums,
// no fused multiply-add).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/logit_row.h"

namespace llmhost::engine {

// A token and its logit in one integer that sorts as: larger logit first, then lower id.
using Candidate = uint64_t;
Candidate make_candidate(float logit, int32_t token);
int32_t candidate_token(Candidate candidate);
float candidate_logit(Candidate candidate);

// e^x for x <= 0, relative error below 1e-14; 0 below -700.
double exp_nonpositive(double x);

// out[i] = exp((values[i] - largest) * inverse_temperature) in single precision for at most a block of
// values, 0 beyond them. Relative error below 2e-5 (2e-6 for what matters, weights above 1e-4); 0 below
// 1e-36.
void exp_values(std::span<const float> values, float largest, float inverse_temperature,
                std::span<float, LogitRow::kBlock> out);
// The sum of these, in single precision and a fixed order.
float exp_sum(std::span<const float> values, float largest, float inverse_temperature);

// log(sum(exp(row))), in double; `largest` is the row's.
double log_sum_exp(std::span<const float> row, double largest);

// Finds the largest elements of rows. Keeps its workspace.
class Selector {
 public:
  // Room for rows of this size; nothing is allocated afterwards.
  explicit Selector(int64_t vocab_size);

  // The k largest (all, when the row has fewer), sorted; valid until the next call.
  std::span<const Candidate> largest(const LogitRow& row, int64_t k);

 private:
  // A value that at least k elements reach and, usually, few more do.
  float lower_bound_of_largest(const LogitRow& row, int64_t k);
  void collect(std::span<const float> values, int64_t first, float bound);

  std::vector<float> block_order_;
  std::vector<Candidate> candidates_;
};

}  // namespace llmhost::engine
