// A backend in three functions. It runs f32 linears, RMS norms and activations; the host's decompositions and
// its reference evaluator do everything else, so any model runs from the first op on.
#include <cmath>

#include "llmhost/simple_backend.hpp"

namespace {

// Splits rows over the host's threads. A row is computed by one thread, so results do not depend on their
// number.
template <typename Row>
void for_each_row(const llmh::OpCall& call, int64_t rows, Row row) {
  if (call.pool() == nullptr) {
    for (int64_t i = 0; i < rows; ++i) row(i);
    return;
  }
  const auto body = [](void* context, int64_t item, int32_t) { (*static_cast<Row*>(context))(item); };
  call.pool()->parallel_for(call.pool(), rows, body, &row);
}

// x [..., K], weight [N, K], bias? [N] -> [..., N].
void linear(const llmh::OpCall& call) {
  const llmh_tensor_info& weight_info = call.input(1);
  const int64_t n = call.size(weight_info, 0);
  const int64_t k = call.size(weight_info, 1);
  const float* bias = call.has(2) ? call.in(2) : nullptr;
  for_each_row(call, call.count(call.output()) / n, [&](int64_t i) {
    const float* x = call.in(0) + i * k;
    for (int64_t j = 0; j < n; ++j) {
      const float* w = call.in(1) + j * k;
      float sum = 0.0F;
      for (int64_t l = 0; l < k; ++l) sum += x[l] * w[l];
      call.out()[i * n + j] = bias == nullptr ? sum : sum + bias[j];
    }
  });
}

// x [..., D], weight? [D] -> [..., D].
void rms_norm(const llmh::OpCall& call) {
  const auto attrs = llmh::node_attrs<llmh_norm_attrs>(call.node());
  const int64_t d = call.size(call.input(0), call.input(0).rank - 1);
  const float* weight = call.has(1) ? call.in(1) : nullptr;
  for_each_row(call, call.count(call.output()) / d, [&](int64_t i) {
    const float* x = call.in(0) + i * d;
    float squares = 0.0F;
    for (int64_t j = 0; j < d; ++j) squares += x[j] * x[j];
    const float scale = 1.0F / std::sqrt(squares / static_cast<float>(d) + attrs.eps);
    for (int64_t j = 0; j < d; ++j)
      call.out()[i * d + j] = x[j] * scale * (weight == nullptr ? 1.0F : weight[j] + attrs.weight_offset);
  });
}

// SiLU alone; other activations are the host's.
bool is_silu(const llmh_graph&, const llmh_node& node) {
  return llmh::node_attrs<llmh_activation_attrs>(node).kind == LLMH_ACT_SILU;
}
void gated_silu(const llmh::OpCall& call) {
  const int64_t n = call.count(call.output());
  for (int64_t i = 0; i < n; ++i) {
    const float gate = call.in(0)[i];
    call.out()[i] = gate / (1.0F + std::exp(-gate)) * call.in(1)[i];
  }
}

const llmh::SimpleBackend& backend() {
  static const llmh::SimpleBackend simple("host memory, three ops",
                                          {{LLMH_OP_LINEAR, linear, nullptr},
                                           {LLMH_OP_RMS_NORM, rms_norm, nullptr},
                                           {LLMH_OP_GATED_ACTIVATION, gated_silu, is_silu}});
  return simple;
}

}  // namespace

LLMH_DEFINE_SIMPLE_BACKEND(backend);
