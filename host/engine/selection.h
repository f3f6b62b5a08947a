// Numeric kernels over one row of logits: the same bits on every machine (own exponential, fixed order of
// sums, no fused multiply-add), in O(V) where the work allows it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmhost::engine {

// A token and its logit in one integer that sorts as: larger logit first, then lower id.
using Candidate = uint64_t;
Candidate make_candidate(float logit, int32_t token);
int32_t candidate_token(Candidate candidate);
float candidate_logit(Candidate candidate);

// e^x for x <= 0, relative error below 1e-14; 0 below -700.
double exp_nonpositive(double x);

// out[i] = exp((row[i] - largest) * inverse_temperature); `largest` is the row's.
void exp_row(std::span<const float> row, double largest, double inverse_temperature, double* out);
// The sum of the same.
double sum_exp(std::span<const float> row, double largest, double inverse_temperature);

// The first index whose value is NaN or infinite, or -1.
int64_t find_not_finite(std::span<const float> row);

// The index of the largest value, the lowest of equals.
int32_t argmax(std::span<const float> row);

// log(sum(exp(row))), in double.
double log_sum_exp(std::span<const float> row);

// Finds the largest elements of rows. Keeps its workspace.
class Selector {
 public:
  // Room for rows of this size; nothing is allocated afterwards.
  explicit Selector(int64_t vocab_size);

  // The k largest (all, when the row has fewer), sorted; valid until the next call.
  std::span<const Candidate> largest(std::span<const float> row, int64_t k);

 private:
  // A value that at least k elements reach and, usually, few more do.
  float lower_bound_of_largest(std::span<const float> row, int64_t k);

  std::vector<float> block_max_;
  std::vector<float> block_order_;
  std::vector<Candidate> candidates_;
};

}  // namespace llmhost::engine
