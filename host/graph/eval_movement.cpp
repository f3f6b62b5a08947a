#include <bit>
#include <cmath>
#include <cstring>

#include "core/dequantize.h"
#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

size_t element_bytes(const Operand& operand) {
  return llmh_dtype_layout_of(operand.dtype).block_bytes;
}

void copy_elements(const Operand& to, int64_t at, const Operand& from, int64_t from_at, int64_t count) {
  const size_t bytes = element_bytes(from);
  if (count > 0)
    std::memcpy(to.data + static_cast<size_t>(at) * bytes, from.data + static_cast<size_t>(from_at) * bytes,
                static_cast<size_t>(count) * bytes);
}

// Elements in the dimensions before and after `axis`.
struct Around {
  int64_t before;
  int64_t after;
};

Around around(const Sizes& sizes, size_t axis) {
  const std::span all(sizes);
  return {product(all.first(axis)), product(all.subspan(axis + 1))};
}

// Round to nearest, ties to even, as every f32 to 16-bit conversion here.
uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

uint16_t to_f16(float value) {
  const auto sign = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16 & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7E00);
  if (magnitude >= 65520.0F) return static_cast<uint16_t>(sign | 0x7C00);
  if (magnitude < 0x1p-14F)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24F)));
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0xFFF + (bits >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112U << 10)));
}

template <typename T, typename Convert>
void store_each(const Operand& out, const Floats& values, Convert convert) {
  for (int64_t i = 0; i < out.count; ++i) {
    const T stored = convert(values[i]);
    std::memcpy(out.data + static_cast<size_t>(i) * sizeof(T), &stored, sizeof(T));
  }
}

}  // namespace

void reshape(const NodeCall& call) {
  copy_elements(call.out(), 0, call.in(0), 0, call.out().count);
}

void permute(const NodeCall& call) {
  const auto& attrs = call.as<llmh_permute_attrs>();
  const Sizes dense = strides_over(call.in(0).sizes, call.in(0).sizes);
  Sizes strides;
  for (int32_t i = 0; i < attrs.rank; ++i) strides.push_back(dense[static_cast<size_t>(attrs.axes[i])]);
  for_each_index(call.out().sizes, strides,
                 [&](int64_t i, int64_t offset) { copy_elements(call.out(), i, call.in(0), offset, 1); });
}

void slice(const NodeCall& call) {
  const auto& attrs = call.as<llmh_slice_attrs>();
  const auto axis = static_cast<size_t>(attrs.axis);
  const Around parts = around(call.in(0).sizes, axis);
  const int64_t from = call.in(0).sizes[axis];
  const int64_t run = (attrs.end - attrs.begin) * parts.after;
  for (int64_t i = 0; i < parts.before; ++i)
    copy_elements(call.out(), i * run, call.in(0), (i * from + attrs.begin) * parts.after, run);
}

void concat(const NodeCall& call) {
  const auto axis = static_cast<size_t>(call.as<llmh_axis_attrs>().axis);
  const Around parts = around(call.out().sizes, axis);
  const int64_t width = call.out().sizes[axis] * parts.after;
  int64_t begin = 0;
  for (uint32_t k = 0; k < call.node().n_inputs; ++k) {
    const int64_t run = call.in(k).sizes[axis] * parts.after;
    for (int64_t i = 0; i < parts.before; ++i)
      copy_elements(call.out(), i * width + begin, call.in(k), i * run, run);
    begin += run;
  }
}

void broadcast(const NodeCall& call) {
  const Sizes& sizes = call.out().sizes;
  for_each_index(sizes, strides_over(call.in(0).sizes, sizes),
                 [&](int64_t i, int64_t offset) { copy_elements(call.out(), i, call.in(0), offset, 1); });
}

void gather(const NodeCall& call) {
  const Operand& x = call.in(0);
  const auto* ids = reinterpret_cast<const int32_t*>(call.in(1).data);
  const llmh_dtype_layout layout = llmh_dtype_layout_of(x.dtype);
  const int64_t row_elements = product(std::span(x.sizes).subspan(1));
  const auto row_bytes = static_cast<size_t>(row_elements / layout.block_elements * layout.block_bytes);
  for (int64_t i = 0; i < call.in(1).count; ++i) {
    if (ids[i] < 0 || ids[i] >= x.sizes[0])
      call.fail(ErrorCode::kOutOfRange, fmt::format("id {} is outside the {} rows", ids[i], x.sizes[0]));
    if (row_bytes > 0)
      std::memcpy(call.out().data + static_cast<size_t>(i) * row_bytes,
                  x.data + static_cast<size_t>(ids[i]) * row_bytes, row_bytes);
  }
}

void cast(const NodeCall& call) {
  const Operand& x = call.in(0);
  const Operand& out = call.out();
  if (x.dtype == out.dtype) return copy_elements(out, 0, x, 0, out.count);
  Operand source = x;
  std::vector<float> converted;
  if (x.dtype == LLMH_DTYPE_I32) {
    const auto* values = reinterpret_cast<const int32_t*>(x.data);
    for (int64_t i = 0; i < x.count; ++i) converted.push_back(static_cast<float>(values[i]));
    source.dtype = LLMH_DTYPE_F32;
    source.data = reinterpret_cast<std::byte*>(converted.data());
  }
  const Floats values(source);
  switch (out.dtype) {
    case LLMH_DTYPE_F32:
      return store_each<float>(out, values, [](float v) { return v; });
    case LLMH_DTYPE_F16:
      return store_each<uint16_t>(out, values, to_f16);
    case LLMH_DTYPE_BF16:
      return store_each<uint16_t>(out, values, to_bf16);
    case LLMH_DTYPE_F64:
      return store_each<double>(out, values, [](float v) { return static_cast<double>(v); });
    default:
      return store_each<int32_t>(out, values, [](float v) {
        if (!(std::fabs(v) < 0x1p31F)) return v < 0 ? INT32_MIN : INT32_MAX;
        return static_cast<int32_t>(v);
      });
  }
}

}  // namespace llmhost::graph::eval
