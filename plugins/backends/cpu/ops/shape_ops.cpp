// Ops that move elements without looking at them: any type of one element a block.
#include <algorithm>

#include "ops/strided.h"

namespace llmhost::cpu {
namespace {

bool supports_moves(const NodeView& view) {
  for (uint32_t i = 0; i < view.node->n_inputs; ++i) {
    if (!view.has_input(i)) return false;
    if (llmh_dtype_layout_of(view.input(i).dtype).block_elements != 1) return false;
    if (view.input(i).dtype != view.output(0).dtype) return false;
  }
  return view.node->n_inputs >= 1;
}

int64_t element_bytes(const Operand& operand) {
  return llmh_dtype_layout_of(operand.dtype).block_bytes;
}

// Row-major strides in elements.
void strides_of(const Shape& shape, int64_t* out) {
  int64_t stride = 1;
  for (int32_t i = shape.rank - 1; i >= 0; --i) {
    out[i] = stride;
    stride *= shape.dims[i];
  }
}

// One row of elements that lie `step` apart.
template <typename T>
void copy_elements(const uint8_t* x, int64_t step, int64_t n, uint8_t* y) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < n; ++i) std::memcpy(y + i * kSize, x + i * step * kSize, sizeof(T));
}

void copy_row(const uint8_t* x, int64_t step, int64_t n, int64_t size, uint8_t* y) {
  if (step == 1) {
    std::memcpy(y, x, static_cast<size_t>(n * size));
    return;
  }
  switch (size) {
    case 1:
      return copy_elements<uint8_t>(x, step, n, y);
    case 2:
      return copy_elements<uint16_t>(x, step, n, y);
    case 4:
      return copy_elements<uint32_t>(x, step, n, y);
    default:
      return copy_elements<uint64_t>(x, step, n, y);
  }
}

// y, dense of `shape`, from elements of x that lie `strides` apart.
void copy_strided(const RunContext& context, const uint8_t* x, const int64_t* strides, const Shape& shape,
                  uint8_t* y, int64_t size) {
  if (shape.count() == 0) return;
  StridedWalk<1> walk(shape);
  std::copy_n(strides, shape.rank, walk.strides[0]);
  walk.merge();
  const int64_t n = walk.row();
  const int64_t step = n == 1 ? 1 : walk.step(0);
  context.parallel_ranges(walk.rows(), kGrain / n + 1, [&](int64_t begin, int64_t end, int32_t) {
    walk.for_rows(begin, end, [&](int64_t row, const int64_t* offsets) {
      copy_row(x + offsets[0] * size, step, n, size, y + row * n * size);
    });
  });
}

void run_reshape(const RunContext& context, const Call& call) {
  const uint8_t* x = context.data(call.inputs[0]);
  uint8_t* y = context.data(call.outputs[0]);
  const int64_t size = element_bytes(call.inputs[0]);
  if (x == y) return;
  context.parallel_ranges(
      context.shape(call.outputs[0]).count(), kGrain, [&](int64_t begin, int64_t end, int32_t) {
        std::memcpy(y + begin * size, x + begin * size, static_cast<size_t>((end - begin) * size));
      });
}

void run_permute(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_permute_attrs>(*call.node);
  const Shape input = context.shape(call.inputs[0]);
  const Shape output = context.shape(call.outputs[0]);
  int64_t own[LLMH_MAX_RANK] = {};
  int64_t strides[LLMH_MAX_RANK] = {};
  strides_of(input, own);
  for (int32_t i = 0; i < output.rank; ++i) strides[i] = own[attrs.axes[i]];
  copy_strided(context, context.data(call.inputs[0]), strides, output, context.data(call.outputs[0]),
               element_bytes(call.inputs[0]));
}

void run_broadcast(const RunContext& context, const Call& call) {
  const Shape input = context.shape(call.inputs[0]);
  const Shape output = context.shape(call.outputs[0]);
  int64_t own[LLMH_MAX_RANK] = {};
  int64_t strides[LLMH_MAX_RANK] = {};
  strides_of(input, own);
  for (int32_t i = 1; i <= input.rank; ++i)
    strides[output.rank - i] = input.dims[input.rank - i] == 1 ? 0 : own[input.rank - i];
  copy_strided(context, context.data(call.inputs[0]), strides, output, context.data(call.outputs[0]),
               element_bytes(call.inputs[0]));
}

void run_slice(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_slice_attrs>(*call.node);
  const Shape input = context.shape(call.inputs[0]);
  int64_t strides[LLMH_MAX_RANK] = {};
  strides_of(input, strides);
  const int64_t size = element_bytes(call.inputs[0]);
  copy_strided(context, context.data(call.inputs[0]) + attrs.begin * strides[attrs.axis] * size, strides,
               context.shape(call.outputs[0]), context.data(call.outputs[0]), size);
}

bool supports_slice(const NodeView& view) {
  const auto attrs = llmh::node_attrs<llmh_slice_attrs>(*view.node);
  return supports_moves(view) && attrs.axis >= 0 && attrs.axis < view.input(0).rank && attrs.begin >= 0;
}

bool supports_pad(const NodeView& view) {
  const auto attrs = llmh::node_attrs<llmh_pad_attrs>(*view.node);
  return supports_moves(view) && attrs.axis >= 0 && attrs.axis < view.input(0).rank && attrs.begin >= 0;
}

void run_pad(const RunContext& context, const Call& call) {
  const auto attrs = llmh::node_attrs<llmh_pad_attrs>(*call.node);
  const Shape input = context.shape(call.inputs[0]);
  int64_t outer = 1;
  int64_t inner = element_bytes(call.inputs[0]);  // bytes of one step along the axis
  for (int32_t i = 0; i < attrs.axis; ++i) outer *= input.dims[i];
  for (int32_t i = attrs.axis + 1; i < input.rank; ++i) inner *= input.dims[i];
  const auto before = static_cast<size_t>(attrs.begin * inner);
  const auto bytes = static_cast<size_t>(input.dims[attrs.axis] * inner);
  const auto all = static_cast<size_t>(attrs.size * inner);
  const uint8_t* x = context.data(call.inputs[0]);
  uint8_t* y = context.data(call.outputs[0]);
  const int64_t grain = int64_t{4} * kGrain / (attrs.size * inner + 1) + 1;
  context.parallel_ranges(outer, grain, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t i = begin; i < end; ++i) {
      uint8_t* row = y + static_cast<size_t>(i) * all;
      std::memset(row, 0, before);
      if (bytes != 0) std::memcpy(row + before, x + static_cast<size_t>(i) * bytes, bytes);
      std::memset(row + before + bytes, 0, all - before - bytes);
    }
  });
}

bool supports_permute(const NodeView& view) {
  const auto attrs = llmh::node_attrs<llmh_permute_attrs>(*view.node);
  if (!supports_moves(view) || attrs.rank != view.input(0).rank) return false;
  for (int32_t i = 0; i < attrs.rank; ++i)
    if (attrs.axes[i] < 0 || attrs.axes[i] >= attrs.rank) return false;
  return true;
}

bool supports_concat(const NodeView& view) {
  const auto attrs = llmh::node_attrs<llmh_axis_attrs>(*view.node);
  return supports_moves(view) && attrs.axis >= 0 && attrs.axis < view.input(0).rank;
}

void run_concat(const RunContext& context, const Call& call) {
  const int32_t axis = llmh::node_attrs<llmh_axis_attrs>(*call.node).axis;
  const Shape output = context.shape(call.outputs[0]);
  const int64_t size = element_bytes(call.outputs[0]);
  int64_t outer = 1;
  int64_t inner = size;  // bytes of one step along the axis
  for (int32_t i = 0; i < axis; ++i) outer *= output.dims[i];
  for (int32_t i = axis + 1; i < output.rank; ++i) inner *= output.dims[i];
  uint8_t* y = context.data(call.outputs[0]);
  const int64_t stride = output.dims[axis] * inner;
  int64_t offset = 0;
  for (const Operand& operand : call.inputs) {
    const int64_t bytes = context.shape(operand).dims[axis] * inner;
    const uint8_t* x = context.data(operand);
    if (bytes == 0) continue;
    context.parallel_ranges(outer, kGrain * size / bytes + 1, [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = begin; i < end; ++i)
        std::memcpy(y + i * stride + offset, x + i * bytes, static_cast<size_t>(bytes));
    });
    offset += bytes;
  }
}

constexpr OpEntry kEntries[] = {
    {.op = LLMH_OP_RESHAPE, .supports = supports_moves, .run = run_reshape, .is_row_wise = true},
    {.op = LLMH_OP_PERMUTE, .supports = supports_permute, .run = run_permute, .is_row_wise = true},
    {.op = LLMH_OP_SLICE, .supports = supports_slice, .run = run_slice, .is_row_wise = true},
    {.op = LLMH_OP_PAD, .supports = supports_pad, .run = run_pad, .is_row_wise = true},
    {.op = LLMH_OP_CONCAT, .supports = supports_concat, .run = run_concat, .is_row_wise = true},
    {.op = LLMH_OP_BROADCAST, .supports = supports_moves, .run = run_broadcast, .is_row_wise = true},
};

}  // namespace

OpList shape_ops() {
  return {kEntries, std::size(kEntries)};
}

}  // namespace llmhost::cpu
