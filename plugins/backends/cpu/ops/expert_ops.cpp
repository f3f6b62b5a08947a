// EXPERT_LINEAR. The rows are put in the order of their experts, once for all products that share input and
// choice; then work is divided over output columns of an expert, each for all rows of the expert. A row's
// numbers do not depend on its neighbours: the kernel gives each output an accumulator of its own.
#include <string>

#include "ops/product.h"

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

// Which rows belong to which expert; lies in the program's shared scratch, behind the rounded input.
struct Routing {
  int32_t* begin;   // [E+1] of each expert's rows in the lists
  int32_t* y_rows;  // [T*S], by expert, ascending within one
  int32_t* x_rows;  // [T*S] the row of x for each
  int32_t* active;  // [E] experts that have rows
  int64_t n_active;

  Routing(uint8_t* memory, int64_t experts, int64_t rows)
      : begin(reinterpret_cast<int32_t*>(memory)),
        y_rows(begin + experts + 1),
        x_rows(y_rows + rows),
        active(x_rows + rows),
        n_active(0) {}

  // The rows of one expert, for one product.
  ProductRows rows_of(const RunContext& context, const Call& call, int64_t expert) const {
    ProductRows rows;
    rows.bias = context.floats_or_null(call, 3);
    if (rows.bias != nullptr) rows.bias += expert * call.inputs[1].dims[1].size;
    rows.y = context.out(call.outputs[0]);
    rows.x_rows = x_rows + begin[expert];
    rows.y_rows = y_rows + begin[expert];
    rows.tokens = begin[expert + 1] - begin[expert];
    return rows;
  }

  static uint64_t bytes(int64_t experts, int64_t rows) {
    return static_cast<uint64_t>(2 * (experts + rows) + 1) * sizeof(int32_t);
  }
};

void check_ids(const Call& call, const int32_t* ids, int64_t rows, int64_t experts) {
  for (int64_t i = 0; i < rows; ++i)
    if (ids[i] < 0 || ids[i] >= experts)
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] " + std::string(llmh::view(call.node->path)) + ": expert " +
                                               std::to_string(ids[i]) + " at index " + std::to_string(i) +
                                               " is outside the " + std::to_string(experts) + " experts");
}

// A counting sort; `rows_per_x` rows share one row of x.
Routing route(uint8_t* memory, const int32_t* ids, int64_t rows, int64_t experts, int64_t rows_per_x) {
  Routing routing(memory, experts, rows);
  std::fill_n(routing.begin, experts + 1, 0);
  for (int64_t i = 0; i < rows; ++i) ++routing.begin[ids[i]];
  int32_t next = 0;
  for (int64_t e = 0; e < experts; ++e) {
    if (routing.begin[e] > 0) routing.active[routing.n_active++] = static_cast<int32_t>(e);
    const int32_t count = routing.begin[e];
    routing.begin[e] = next;
    next += count;
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t at = routing.begin[ids[i]]++;
    routing.y_rows[at] = static_cast<int32_t>(i);
    routing.x_rows[at] = static_cast<int32_t>(i / rows_per_x);
  }
  // Each begin has moved to its end, which is the next one's begin.
  std::copy_backward(routing.begin, routing.begin + experts, routing.begin + experts + 1);
  routing.begin[0] = 0;
  return routing;
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

// Each piece is some columns of one expert, for all rows of that expert.
void run_expert_products(const RunContext& context, std::span<const Call* const> calls,
                         const RoundedInput& rounded) {
  const Call& first = *calls[0];
  const Shape ids = context.shape(first.inputs[2]);
  const int64_t experts = first.inputs[1].dims[0].size;
  const int64_t rows = ids.count();
  if (rows == 0) return;
  const int32_t* chosen = context.ints(first.inputs[2]);
  check_ids(first, chosen, rows, experts);
  const int64_t rows_per_x = first.inputs[0].rank == 2 ? ids.dims[1] : 1;
  const Routing routing =
      route(context.shared_scratch() + rounded.reserved_bytes(), chosen, rows, experts, rows_per_x);
  const auto pieces_of = [&](const Call& call) {
    return Pieces(call.inputs[1], rows / routing.n_active, routing.n_active, context.n_threads());
  };
  int64_t items = 0;
  for (const Call* call : calls) items += pieces_of(*call).per_expert * routing.n_active;
  context.parallel(items, [&](int64_t item, int32_t thread) {
    for (const Call* call : calls) {
      const Pieces pieces = pieces_of(*call);
      if (item >= pieces.per_expert * routing.n_active) {
        item -= pieces.per_expert * routing.n_active;
        continue;
      }
      const int64_t expert = routing.active[item / pieces.per_expert];
      const int64_t begin = item % pieces.per_expert * pieces.piece;
      const Product product(context, call->inputs[1], expert, context.floats(call->inputs[0]), rounded,
                            call->form, routing.rows_of(context, *call, expert));
      product.run(begin, std::min(pieces.units, begin + pieces.piece), context.thread_scratch(thread));
      return;
    }
  });
}

ScratchNeed expert_scratch(const NodeView& view, const llmh_limits& limits) {
  const llmh_tensor_info& weight = view.input(1);
  const llmh_tensor_info& ids = view.input(2);
  const int64_t rows = largest_size(ids.dims[0], limits) * largest_size(ids.dims[1], limits);
  return {
      .per_thread = decoded_bytes(weight),
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
