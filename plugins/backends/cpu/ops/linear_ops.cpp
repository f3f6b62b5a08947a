// LINEAR and MATMUL. Work is divided over rows of the weight, never over the depth of a dot product. Products
// of one input run as one region.
#include <algorithm>

#include "ops/gemm_left.h"
#include "ops/product.h"
#include "ops/sites.h"

namespace llmhost::cpu {
namespace {

ScratchNeed linear_scratch(const NodeView& view, const llmh_limits& limits) {
  const int64_t rows = largest_rows(dims_of(view.input(0)), limits);
  const int64_t depth = constant_size(view.input(1).dims[1]);
  ScratchNeed need = {.per_thread = decoded_bytes(view.input(1)),
                      .shared = RoundedInput::most_bytes(rows, depth)};
  if (has_parameters(*view.graph)) {
    need.per_thread = std::max(need.per_thread, gemm_scratch_bytes(depth));
    need.shared += LeftPanels::bytes(rows, depth);
  }
  return need;
}

bool supports_linear(const NodeView& view) {
  if (view.node->n_inputs < 2 || view.node->n_outputs != 1) return false;
  if (view.input(0).dtype != LLMH_DTYPE_F32 || view.output(0).dtype != LLMH_DTYPE_F32) return false;
  if (view.has_input(2) && view.input(2).dtype != LLMH_DTYPE_F32) return false;
  const llmh_tensor_info& weight = view.input(1);
  return weight.rank == 2 && constant_size(weight.dims[1]) >= 0 && is_decodable(weight);
}

ProductRows linear_rows(const RunContext& context, const Call& call) {
  ProductRows rows;
  rows.bias = context.floats_or_null(call, 2);
  rows.y = context.out(call.outputs[0]);
  rows.tokens = context.shape(call.inputs[0]).rows();
  return rows;
}

void run_blocked(const RunContext& context, const Call& call, int64_t tokens, LeftPanels& panels) {
  Gemm gemm;
  gemm.m = tokens;
  gemm.n = call.inputs[1].dims[0].size;
  gemm.depth = call.inputs[1].dims[1].size;
  gemm.left = {context.floats(call.inputs[0]), nullptr, gemm.depth, tokens};
  gemm.right = right_of(context, call.inputs[1], 0, false);
  gemm.c = context.out(call.outputs[0]);
  gemm.c_stride = gemm.n;
  gemm.bias = context.floats_or_null(call, 2);
  gemm.is_bf16 = call.form == Form::kBlockedBf16;
  run_gemm(context, gemm, panels);
}

// After what is rounded; none where adapters have that place.
LeftPanels panels_of(const RunContext& context, std::span<const Call* const> calls,
                     const RoundedInput& rounded) {
  const uint64_t begin = rounded.reserved_bytes();
  const bool has_site = std::ranges::any_of(calls, [](const Call* call) { return call->site.number != 0; });
  if (has_site || context.shared_bytes() <= begin) return {};
  return {context.shared_scratch() + begin, context.shared_bytes() - begin};
}

// Pieces of work go through the units of all the weights, one weight after the other.
void run_products(const RunContext& context, std::span<const Call* const> calls,
                  const RoundedInput& rounded) {
  const int64_t tokens = context.shape(calls[0]->inputs[0]).rows();
  if (tokens == 0) return;
  int64_t units = 0;
  LeftPanels panels = panels_of(context, calls, rounded);
  for (const Call* call : calls)
    if (is_blocked(call->form))
      run_blocked(context, *call, tokens, panels);
    else
      units += Product::units_of(call->inputs[1]);
  const int64_t depth = calls[0]->inputs[1].dims[1].size;
  const int64_t piece = Product::piece_units(units, depth, tokens, context.n_threads());
  context.parallel((units + piece - 1) / piece, [&](int64_t item, int32_t thread) {
    int64_t first = 0;
    for (const Call* call : calls) {
      if (is_blocked(call->form)) continue;
      const int64_t count = Product::units_of(call->inputs[1]);
      const int64_t begin = std::max<int64_t>(item * piece - first, 0);
      const int64_t end = std::min((item + 1) * piece - first, count);
      if (begin < end) {
        Product(context, call->inputs[1], 0, context.floats(call->inputs[0]), rounded, call->form,
                linear_rows(context, *call))
            .run(begin, end, context.thread_scratch(thread));
        if (has_changes(context, *call))
          expand(context, *call, begin * kPackedRows,
                 std::min(end * kPackedRows, call->inputs[1].dims[0].size));
      }
      first += count;
    }
  });
}

// Of LORA_LINEAR: rows of tokens or outputs, so that an adapter is found by them.
bool supports_site(const NodeView& view) {
  if (!supports_linear(view) || view.input(0).rank != 2) return false;
  const llmh_dim& rows = view.input(0).dims[0];
  const bool is_row = rows.symbol == LLMH_DIM_TOKENS || rows.symbol == LLMH_DIM_OUTPUTS;
  return is_row && rows.size == 1 && llmh::node_attrs<llmh_site_attrs>(*view.node).adapter_site > 0;
}

// Every product of the input that is a site has a u of its own.
ScratchNeed site_scratch(const NodeView& view, const llmh_limits& limits) {
  ScratchNeed need = linear_scratch(view, limits);
  uint64_t n_sites = 0;
  for (uint32_t i = 0; i < view.graph->n_nodes; ++i) {
    const llmh_node& node = *view.graph->nodes[i];
    if (node.op == LLMH_OP_LORA_LINEAR && node.inputs[0] == view.node->inputs[0]) ++n_sites;
  }
  need.shared += n_sites * low_rank_bytes(largest_rows(dims_of(view.input(0)), limits), limits);
  return need;
}

void prepare_site(Call& call) {
  call.site.number = llmh::node_attrs<llmh_site_attrs>(*call.node).adapter_site;
}

// A matrix [N, K] of any stored type: then it is a linear layer without a bias.
bool is_linear(const NodeView& view) {
  return llmh::node_attrs<llmh_matmul_attrs>(*view.node).transpose_b != 0 && view.input(1).rank == 2 &&
         view.input(0).rank >= 2 && supports_linear(view);
}

bool supports_matmul(const NodeView& view) {
  if (view.node->n_inputs != 2) return false;
  return is_linear(view) || (all_f32(view) && view.input(0).rank >= 2 && view.input(1).rank >= 2);
}

ScratchNeed matmul_scratch(const NodeView& view, const llmh_limits& limits) {
  return is_linear(view) ? linear_scratch(view, limits) : ScratchNeed{};
}

// The offset, in matrices, of batch `index` of the result within an operand whose leading dimensions
// broadcast.
int64_t matrix_index(const Shape& result, const Shape& operand, int64_t index) {
  int64_t offset = 0;
  int64_t stride = 1;
  for (int32_t i = 0; i + 2 < result.rank; ++i) {
    const int32_t axis = result.rank - 3 - i;
    const int64_t coordinate = index % result.dims[axis];
    index /= result.dims[axis];
    const int32_t own = operand.rank - 3 - i;
    if (own < 0) continue;
    if (operand.dims[own] != 1) offset += coordinate * stride;
    stride *= operand.dims[own];
  }
  return offset;
}

// Whether the second operand is a weight's matrix, as is_linear saw it.
bool is_matmul_product(const Call& call) {
  const Operand& b = call.inputs[1];
  return llmh::node_attrs<llmh_matmul_attrs>(*call.node).transpose_b != 0 && b.rank == 2 &&
         b.dims[0].symbol == LLMH_DIM_CONST && b.dims[1].symbol == LLMH_DIM_CONST && call.inputs[0].rank >= 2;
}

void run_matmul(const RunContext& context, const Call& call) {
  const bool transposed = llmh::node_attrs<llmh_matmul_attrs>(*call.node).transpose_b != 0;
  const Shape a = context.shape(call.inputs[0]);
  const Shape b = context.shape(call.inputs[1]);
  const Shape y = context.shape(call.outputs[0]);
  const int64_t m = y.dims[y.rank - 2];
  const int64_t n = y.dims[y.rank - 1];
  const int64_t depth = a.dims[a.rank - 1];
  const float* left = context.floats(call.inputs[0]);
  const float* right = context.floats(call.inputs[1]);
  float* out = context.out(call.outputs[0]);
  const int64_t result_rows = y.count() == 0 ? 0 : y.count() / n;
  const int64_t grain = std::max<int64_t>(1, kGrain * 4 / std::max<int64_t>(1, n * depth));
  context.parallel_ranges(result_rows, grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t row = begin; row < end;) {
      const int64_t batch = row / m;
      const int64_t count = std::min(end, (batch + 1) * m) - row;  // rows of the same matrix
      const float* x = left + (matrix_index(y, a, batch) * m + row % m) * depth;
      const float* w = right + matrix_index(y, b, batch) * n * depth;
      if (transposed) {
        context.kernels.dense.f32({.x = x,
                                   .w = w,
                                   .bias = nullptr,
                                   .y = out + row * n,
                                   .x_rows = nullptr,
                                   .y_rows = nullptr,
                                   .x_stride = depth,
                                   .w_stride = depth,
                                   .y_stride = n,
                                   .tokens = count,
                                   .rows = n,
                                   .depth = depth});
      } else {
        for (int64_t i = 0; i < count; ++i)
          context.kernels.linear.combine(x + i * depth, w, n, depth, n, out + (row + i) * n);
      }
      row += count;
    }
  });
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_LINEAR,
     .supports = supports_linear,
     .scratch = linear_scratch,
     .is_product = is_always_product,
     .run_products = run_products},
    {.op = LLMH_OP_LORA_LINEAR,
     .supports = supports_site,
     .scratch = site_scratch,
     .prepare = prepare_site,
     .is_product = is_always_product,
     .run_products = run_products},
    {.op = LLMH_OP_MATMUL,
     .supports = supports_matmul,
     .run = run_matmul,
     .scratch = matmul_scratch,
     .is_product = is_matmul_product,
     .run_products = run_products},
};

}  // namespace

OpList linear_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
