// Gradients of products, summed over rows.
#include <algorithm>

#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

int64_t checked_expert(const NodeCall& call, const int32_t* ids, int64_t row, int64_t experts) {
  if (ids[row] < 0 || ids[row] >= experts)
    call.fail(ErrorCode::kOutOfRange, fmt::format("id {} is outside the {} experts", ids[row], experts));
  return ids[row];
}

// sums [N,K] += dy [N] x [K]
void add_outer(double* sums, const float* dy, int64_t outputs, const float* x, int64_t inputs) {
  for (int64_t n = 0; n < outputs; ++n)
    for (int64_t k = 0; k < inputs; ++k)
      sums[n * inputs + k] += static_cast<double>(dy[n]) * static_cast<double>(x[k]);
}

void store(const std::vector<double>& sums, float* out) {
  std::ranges::transform(sums, out, [](double sum) { return static_cast<float>(sum); });
}

}  // namespace

void linear_weight_grad(const NodeCall& call) {
  const Floats dy(call.in(0));
  const Floats x(call.in(1));
  const int64_t outputs = call.out().sizes[0];
  const int64_t inputs = call.out().sizes[1];
  const Sizes& sizes = call.in(0).sizes;
  const int64_t rows = product(std::span(sizes).first(sizes.size() - 1));
  std::vector<double> sums(static_cast<size_t>(call.out().count), 0.0);
  for (int64_t row = 0; row < rows; ++row)
    add_outer(sums.data(), dy.data() + row * outputs, outputs, x.data() + row * inputs, inputs);
  store(sums, call.out_floats());
}

void expert_linear_input_grad(const NodeCall& call) {
  const Floats dy(call.in(0));
  const Floats weight(call.in(1));
  const auto* ids = reinterpret_cast<const int32_t*>(call.in(2).data);
  const Sizes& sizes = call.in(1).sizes;  // [E,N,K]
  for (int64_t row = 0; row < call.in(2).count; ++row) {
    const int64_t expert = checked_expert(call, ids, row, sizes[0]);
    const float* matrix = weight.data() + expert * sizes[1] * sizes[2];
    for (int64_t k = 0; k < sizes[2]; ++k) {
      double sum = 0;
      for (int64_t n = 0; n < sizes[1]; ++n)
        sum += static_cast<double>(dy[row * sizes[1] + n]) * static_cast<double>(matrix[n * sizes[2] + k]);
      call.out_floats()[row * sizes[2] + k] = static_cast<float>(sum);
    }
  }
}

void expert_linear_weight_grad(const NodeCall& call) {
  const Floats dy(call.in(0));
  const Floats x(call.in(1));
  const auto* ids = reinterpret_cast<const int32_t*>(call.in(2).data);
  const Sizes& sizes = call.out().sizes;                                          // [E,N,K]
  const int64_t shared = call.in(1).sizes.size() == 2 ? call.in(2).sizes[1] : 1;  // rows of one x
  std::vector<double> sums(static_cast<size_t>(call.out().count), 0.0);
  for (int64_t row = 0; row < call.in(2).count; ++row) {
    const int64_t expert = checked_expert(call, ids, row, sizes[0]);
    add_outer(sums.data() + expert * sizes[1] * sizes[2], dy.data() + row * sizes[1], sizes[1],
              x.data() + row / shared * sizes[2], sizes[2]);
  }
  store(sums, call.out_floats());
}

}  // namespace llmhost::graph::eval
