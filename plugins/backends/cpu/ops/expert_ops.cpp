// EXPERT_LINEAR. The rows are put in the order of their experts, once for all products that share input and
// choice; then work is divided over output columns of an expert, each for all rows of the expert. A row's
// numbers do not depend on its neighbours: the kernel gives each output an accumulator of its own.
#include <algorithm>

#include "ops/product.h"
#include "ops/routed_gemm.h"

namespace llmhost::cpu {
namespace {

bool supports_expert_linear(const NodeView& view) {
  if (view.node->n_inputs < 3 || view.node->n_inputs > 4 || view.node->n_outputs != 1) return false;
  if (view.input(0).dtype != LLMH_DTYPE_F32 || view.output(0).dtype != LLMH_DTYPE_F32) return false;
  if (view.has_input(3) && view.input(3).dtype != LLMH_DTYPE_F32) return false;
  const llmh_tensor_info& weight = view.input(1);
  const llmh_tensor_info& ids = view.input(2);
  if (ids.dtype != LLMH_DTYPE_I32 || ids.rank != 2 || weight.rank != 3 || !is_decodable(weight)) return false;
  for (int32_t i = 0; i < weight.rank; ++i)
    if (constant_size(weight.dims[i]) < 0) return false;
  return true;
}

// The rows of one expert, for one product.
ProductRows rows_of(const RunContext& context, const Call& call, const Routing& routing, int64_t expert) {
  ProductRows rows;
  rows.bias = context.floats_or_null(call, 3);
  if (rows.bias != nullptr) rows.bias += expert * call.inputs[1].dims[1].size;
  rows.y = context.out(call.outputs[0]);
  rows.x_rows = routing.x_rows + routing.begin[expert];
  rows.y_rows = routing.y_rows + routing.begin[expert];
  rows.tokens = routing.count(expert);
  return rows;
}

// How the rows of an expert are divided into pieces of work.
struct Pieces {
  int64_t units;       // of an expert's matrix
  int64_t piece;       // units in one
  int64_t per_expert;  // pieces

  Pieces(const Operand& weight, int64_t mean_rows, int64_t n_active, int32_t n_threads)
      : units(Product::units_of(weight)),
        piece(Product::piece_units(units * n_active, weight.dims[2].size, mean_rows, n_threads)),
        per_expert((units + piece - 1) / piece) {}
};

// In programs of training.
void run_blocked(const RunContext& context, const Call& call, const Routing& routing, int64_t rows) {
  const Operand& weight = call.inputs[1];
  Gemm gemm;
  gemm.m = rows / routing.n_active;
  gemm.n = weight.dims[1].size;
  gemm.depth = weight.dims[2].size;
  gemm.left = {context.floats(call.inputs[0]), routing.x_rows, gemm.depth, gemm.m};
  gemm.right = right_of(context, weight, 0, false);
  gemm.c = context.out(call.outputs[0]);
  gemm.c_stride = gemm.n;
  gemm.is_bf16 = call.form == Form::kBlockedBf16;
  const float* bias = context.floats_or_null(call, 3);
  run_routed(context, gemm, routing.n_active, [&](int64_t i) {
    Gemm own = gemm;
    const int64_t expert = routing.active[i];
    choose_rows(own, routing, expert, routing.x_rows);
    own.right = right_of(context, weight, expert, false);
    if (bias != nullptr) own.bias = bias + expert * gemm.n;
    return own;
  });
}

// Each piece is some columns of one expert, for all rows of that expert.
void run_expert_products(const RunContext& context, std::span<const Call* const> calls,
                         const RoundedInput& rounded) {
  const Call& first = *calls[0];
  const Shape ids = context.shape(first.inputs[2]);
  const int64_t experts = first.inputs[1].dims[0].size;
  const int64_t rows = ids.count();
  if (rows == 0) return;
  const int32_t* chosen = context.ints(first.inputs[2]);
  check_experts(first, chosen, rows, experts);
  const int64_t rows_per_x = first.inputs[0].rank == 2 ? ids.dims[1] : 1;
  const Routing routing =
      route(context.shared_scratch() + rounded.reserved_bytes(), chosen, rows, experts, rows_per_x);
  const auto pieces_of = [&](const Call& call) {
    return Pieces(call.inputs[1], rows / routing.n_active, routing.n_active, context.n_threads());
  };
  int64_t items = 0;
  for (const Call* call : calls)
    if (is_blocked(call->form))
      run_blocked(context, *call, routing, rows);
    else
      items += pieces_of(*call).per_expert * routing.n_active;
  context.parallel(items, [&](int64_t item, int32_t thread) {
    for (const Call* call : calls) {
      if (is_blocked(call->form)) continue;
      const Pieces pieces = pieces_of(*call);
      if (item >= pieces.per_expert * routing.n_active) {
        item -= pieces.per_expert * routing.n_active;
        continue;
      }
      const int64_t expert = routing.active[item / pieces.per_expert];
      const int64_t begin = item % pieces.per_expert * pieces.piece;
      const Product product(context, call->inputs[1], expert, context.floats(call->inputs[0]), rounded,
                            call->form, rows_of(context, *call, routing, expert));
      product.run(begin, std::min(pieces.units, begin + pieces.piece), context.thread_scratch(thread));
      return;
    }
  });
}

ScratchNeed expert_scratch(const NodeView& view, const llmh_limits& limits) {
  const llmh_tensor_info& weight = view.input(1);
  const llmh_tensor_info& ids = view.input(2);
  const int64_t rows = largest_size(ids.dims[0], limits) * largest_size(ids.dims[1], limits);
  const uint64_t blocks = has_parameters(*view.graph) ? gemm_scratch_bytes(weight.dims[2].size) : 0;
  return {
      .per_thread = std::max(decoded_bytes(weight), blocks),
      .shared = RoundedInput::most_bytes(largest_rows(dims_of(view.input(0)), limits), weight.dims[2].size) +
                Routing::bytes(weight.dims[0].size, rows)};
}

constexpr OpEntry kEntries[] = {{.op = LLMH_OP_EXPERT_LINEAR,
                                 .supports = supports_expert_linear,
                                 .scratch = expert_scratch,
                                 .is_product = is_always_product,
                                 .run_products = run_expert_products}};

}  // namespace

OpList expert_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
