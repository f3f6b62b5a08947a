// Ops over the last dimension: norms, softmax, reductions.
#include <algorithm>

#include "ops/rows.h"
#include "ops/sites.h"

namespace llmhost::cpu {
namespace {

bool supports_rows(const NodeView& view) {
  return all_f32(view) && view.node->n_inputs >= 1 && view.input(0).rank >= 1;
}

// A site's rows are those of tokens or outputs; each may hold several norms, one for each head.
bool supports_norm(const NodeView& view) {
  if (!supports_rows(view)) return false;
  const int32_t site = llmh::node_attrs<llmh_norm_attrs>(*view.node).adapter_site;
  if (site == 0) return true;
  const llmh_tensor_info& x = view.input(0);
  const bool is_row = x.dims[0].symbol == LLMH_DIM_TOKENS || x.dims[0].symbol == LLMH_DIM_OUTPUTS;
  const bool is_fixed_row = std::all_of(x.dims + 1, x.dims + x.rank,
                                        [](const llmh_dim& dim) { return dim.symbol == LLMH_DIM_CONST; });
  return site > 0 && x.rank >= 2 && is_fixed_row && is_row && x.dims[0].size == 1;
}

void prepare_site(Call& call) {
  call.site.number = llmh::node_attrs<llmh_norm_attrs>(*call.node).adapter_site;
}

// body(weight, bias, i) for each norm i of the rows that the context shows whose adapter has either of its
// own.
template <typename Body>
void for_own_rows(const RunContext& context, const Call& call, const float* w, const float* b,
                  const Body& body) {
  if (!has_changes(context, call)) return;
  const int32_t symbol = call.inputs[0].row_symbol;
  const int64_t first = context.window().symbol == symbol ? context.window().begin : 0;
  int64_t n_norms = 1;  // of a row
  for (int32_t i = 1; i + 1 < call.inputs[0].rank; ++i) n_norms *= call.inputs[0].dims[i].size;
  for_each_change(context, call.site.number, symbol,
                  [&](const SiteDelta& delta, std::span<const int32_t> rows) {
                    const auto* own = reinterpret_cast<const float*>(delta.weight);
                    for (const int32_t row : rows)
                      for (int64_t i = (row - first) * n_norms; i < (row - first + 1) * n_norms; ++i)
                        body(own != nullptr ? own : w, delta.bias != nullptr ? delta.bias : b, i);
                  });
}

void run_rms_norm(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_norm_attrs>(*call.node);
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* x = context.floats(call.inputs[0]);
  const float* w = context.floats_or_null(call, 1);
  float* y = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) {
    context.kernels.norm.rms(x + row * n, w, attrs.eps, attrs.weight_offset, n, y + row * n);
  });
  for_own_rows(context, call, w, nullptr, [&](const float* own, const float*, int64_t row) {
    context.kernels.norm.rms(x + row * n, own, attrs.eps, attrs.weight_offset, n, y + row * n);
  });
}

void run_add_rms_norm(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_norm_attrs>(*call.node);
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* a = context.floats(call.inputs[0]);
  const float* b = context.floats(call.inputs[1]);
  const float* w = context.floats_or_null(call, 2);
  float* sum = context.out(call.outputs[0]);
  float* y = context.out(call.outputs[1]);
  for_rows(context, shape, [&](int64_t row) {
    const int64_t at = row * n;
    context.kernels.elementwise.binary(BinaryOp::kAdd, a + at, 1, b + at, 1, n, sum + at);
    context.kernels.norm.rms(sum + at, w, attrs.eps, attrs.weight_offset, n, y + at);
  });
  for_own_rows(context, call, w, nullptr, [&](const float* own, const float*, int64_t row) {
    context.kernels.norm.rms(sum + row * n, own, attrs.eps, attrs.weight_offset, n, y + row * n);
  });
}

bool supports_add_rms_norm(const NodeView& view) {
  if (!supports_norm(view) || view.node->n_inputs < 2 || view.node->n_outputs != 2) return false;
  const llmh_tensor_info& a = view.input(0);
  const llmh_tensor_info& b = view.input(1);
  if (a.rank != b.rank) return false;
  for (int32_t i = 0; i < a.rank; ++i)
    if (a.dims[i].size != b.dims[i].size || a.dims[i].symbol != b.dims[i].symbol) return false;
  return true;
}

void run_layer_norm(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_norm_attrs>(*call.node);
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* x = context.floats(call.inputs[0]);
  const float* w = context.floats_or_null(call, 1);
  const float* b = context.floats_or_null(call, 2);
  float* y = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) {
    context.kernels.norm.layer(x + row * n, w, b, attrs.eps, attrs.weight_offset, n, y + row * n);
  });
  for_own_rows(context, call, w, b, [&](const float* weight, const float* bias, int64_t row) {
    context.kernels.norm.layer(x + row * n, weight, bias, attrs.eps, attrs.weight_offset, n, y + row * n);
  });
}

void run_softmax(const RunContext& context, const Call& call) {
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) { context.kernels.norm.softmax(x + row * n, n, y + row * n); });
}

bool supports_reduce(const NodeView& view) {
  const int32_t kind = llmh::node_attrs<llmh_reduce_attrs>(*view.node).kind;
  return supports_rows(view) && kind >= LLMH_REDUCE_SUM && kind <= LLMH_REDUCE_MAX;
}

void run_reduce(const RunContext& context, const Call& call) {
  const int32_t kind = llmh::node_attrs<llmh_reduce_attrs>(*call.node).kind;
  const Shape shape = context.shape(call.inputs[0]);
  const int64_t n = shape.last();
  const float* x = context.floats(call.inputs[0]);
  float* y = context.out(call.outputs[0]);
  for_rows(context, shape, [&](int64_t row) { y[row] = context.kernels.norm.reduce(kind, x + row * n, n); });
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_RMS_NORM,
     .supports = supports_norm,
     .run = run_rms_norm,
     .prepare = prepare_site,
     .is_row_wise = true},
    {.op = LLMH_OP_ADD_RMS_NORM,
     .supports = supports_add_rms_norm,
     .run = run_add_rms_norm,
     .prepare = prepare_site,
     .is_row_wise = true},
    {.op = LLMH_OP_LAYER_NORM,
     .supports = supports_norm,
     .run = run_layer_norm,
     .prepare = prepare_site,
     .is_row_wise = true},
    {.op = LLMH_OP_SOFTMAX, .supports = supports_rows, .run = run_softmax, .is_row_wise = true},
    {.op = LLMH_OP_REDUCE, .supports = supports_reduce, .run = run_reduce, .is_row_wise = true},
};

}  // namespace

OpList norm_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
