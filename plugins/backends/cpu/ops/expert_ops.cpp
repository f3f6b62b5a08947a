// EXPERT_LINEAR. The rows are put in the order of their experts; then work is divided over groups of an
// expert's output columns, each for all rows of the expert. A row's numbers do not depend on its neighbours:
// the kernel gives each output an accumulator of its own.
#include <string>

#include "ops/linear.h"

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

// Which rows belong to which expert; lies in the program's shared scratch.
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

  static uint64_t bytes(int64_t experts, int64_t rows) {
    return static_cast<uint64_t>(2 * (experts + rows) + 1) * sizeof(int32_t);
  }
};

ScratchNeed expert_scratch(const NodeView& view, const llmh_limits& limits) {
  const llmh_tensor_info& weight = view.input(1);
  const llmh_tensor_info& ids = view.input(2);
  const int64_t rows = largest_size(ids.dims[0], limits) * largest_size(ids.dims[1], limits);
  return {.per_thread = decoded_bytes(weight), .shared = Routing::bytes(weight.dims[0].size, rows)};
}

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

void run_expert_linear(const RunContext& context, const Call& call) {
  const Shape weight = context.shape(call.inputs[1]);
  const Shape ids = context.shape(call.inputs[2]);
  const int64_t experts = weight.dims[0];
  const int64_t columns = weight.dims[1];
  const int64_t depth = weight.dims[2];
  const int64_t rows = ids.count();
  if (rows == 0 || columns == 0) return;
  const int32_t* chosen = context.ints(call.inputs[2]);
  check_ids(call, chosen, rows, experts);
  const int64_t rows_per_x = call.inputs[0].rank == 2 ? ids.dims[1] : 1;
  const Routing routing = route(context.shared_scratch(), chosen, rows, experts, rows_per_x);
  const LinearTile tile = {.x = context.floats(call.inputs[0]),
                           .w = nullptr,
                           .bias = context.floats_or_null(call, 3),
                           .y = context.out(call.outputs[0]),
                           .x_rows = routing.x_rows,
                           .y_rows = routing.y_rows,
                           .x_stride = depth,
                           .w_stride = 0,
                           .y_stride = columns,
                           .tokens = 0,
                           .rows = 0,
                           .depth = depth};
  const LinearJob all = linear_job(context, call.inputs[1], tile);

  const int64_t mean_rows = rows / routing.n_active;
  const int64_t pieces = int64_t{4} * context.n_threads() / routing.n_active + 1;
  const int64_t group = group_rows(mean_rows, depth, columns, pieces);
  const int64_t groups = (columns + group - 1) / group;
  const int64_t work = std::max<int64_t>(1, group * depth * (mean_rows + 1));
  const int64_t grain = std::max<int64_t>(1, kGrain * 4 / work);  // groups in an item
  const int64_t items_each = (groups + grain - 1) / grain;
  context.parallel(routing.n_active * items_each, [&](int64_t item, int32_t thread) {
    const int64_t expert = routing.active[item / items_each];
    const int64_t first = routing.begin[expert];
    LinearJob job = all;
    job.tile.tokens = routing.begin[expert + 1] - first;
    job.tile.x_rows += first;
    job.tile.y_rows += first;
    if (job.tile.bias != nullptr) job.tile.bias += expert * columns;
    job.weight += expert * columns * job.row_bytes;
    const int64_t begin = item % items_each * grain;
    for (int64_t g = begin; g < std::min(groups, begin + grain); ++g)
      job.run_group(g * group, std::min(columns, (g + 1) * group), context.thread_scratch(thread));
  });
}

constexpr OpEntry kEntries[] = {
    {LLMH_OP_EXPERT_LINEAR, supports_expert_linear, run_expert_linear, expert_scratch}};

}  // namespace

OpList expert_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
