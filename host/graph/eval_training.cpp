// What training adds beside products, losses and attention: transposes of data movement, dropout, norms of
// rows, sums that stay.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "graph/eval.h"

namespace llmhost::graph::eval {
namespace {

void store(const std::vector<double>& sums, float* out) {
  std::ranges::transform(sums, out, [](double sum) { return static_cast<float>(sum); });
}

const int32_t* ids_of(const NodeCall& call, uint32_t index) {
  return reinterpret_cast<const int32_t*>(call.in(index).data);
}

int64_t checked_id(const NodeCall& call, int32_t id, int64_t limit) {
  if (id < 0 || id >= limit)
    call.fail(ErrorCode::kOutOfRange, fmt::format("id {} is outside the {} places", id, limit));
  return id;
}

}  // namespace

void reduce_to(const NodeCall& call) {
  const Floats x(call.in(0));
  std::vector<double> sums(static_cast<size_t>(call.out().count), 0.0);
  for_each_index(call.in(0).sizes, strides_over(call.out().sizes, call.in(0).sizes),
                 [&](int64_t i, int64_t to) { sums[static_cast<size_t>(to)] += static_cast<double>(x[i]); });
  store(sums, call.out_floats());
}

void pad(const NodeCall& call) {
  const auto& attrs = call.as<llmh_pad_attrs>();
  const auto axis = static_cast<size_t>(attrs.axis);
  const Operand& x = call.in(0);
  const std::span sizes(x.sizes);
  const auto bytes = static_cast<int64_t>(llmh_dtype_layout_of(x.dtype).block_bytes);
  const int64_t after = product(sizes.subspan(axis + 1)) * bytes;
  const int64_t run = x.sizes[axis] * after;
  std::byte* out = call.out().data;
  if (call.out().count > 0) std::memset(out, 0, static_cast<size_t>(call.out().count * bytes));
  for (int64_t i = 0; i < product(sizes.first(axis)); ++i)
    if (run > 0)
      std::memcpy(out + (i * attrs.size + attrs.begin) * after, x.data + i * run, static_cast<size_t>(run));
}

void scatter_add(const NodeCall& call) {
  const Floats x(call.in(0));
  const int32_t* ids = ids_of(call, 1);
  const Sizes& sizes = call.out().sizes;
  const int64_t width = product(std::span(sizes).subspan(1));
  std::vector<double> sums(static_cast<size_t>(call.out().count), 0.0);
  for (int64_t row = 0; row < call.in(1).count; ++row) {
    const int64_t to = checked_id(call, ids[row], sizes[0]) * width;
    for (int64_t i = 0; i < width; ++i)
      sums[static_cast<size_t>(to + i)] += static_cast<double>(x[row * width + i]);
  }
  store(sums, call.out_floats());
}

void scatter_last(const NodeCall& call) {
  const Floats x(call.in(0));
  const int32_t* ids = ids_of(call, 1);
  const int64_t from = call.in(0).sizes.back();
  const int64_t width = call.out().sizes.back();
  std::vector<double> sums(static_cast<size_t>(call.out().count), 0.0);
  for (int64_t i = 0; i < call.in(1).count; ++i)
    sums[static_cast<size_t>(i / from * width + checked_id(call, ids[i], width))] +=
        static_cast<double>(x[i]);
  store(sums, call.out_floats());
}

void detach(const NodeCall& call) {
  const Floats x(call.in(0));
  for (int64_t i = 0; i < call.out().count; ++i) call.out_floats()[i] = x[i];
}

void dropout(const NodeCall& call) {
  const auto& attrs = call.as<llmh_dropout_attrs>();
  const uint64_t seed = call.step().dropout_seed;
  const Floats x(call.in(0));
  const int64_t width = product(std::span(call.out().sizes).subspan(1));
  const float scale = 1.0F / (1.0F - attrs.p);
  for (int64_t i = 0; i < call.out().count; ++i) {
    const bool kept = llmh_dropout_keep(seed, attrs.site, i / width, i % width, attrs.p) != 0;
    call.out_floats()[i] = seed == 0 ? x[i] : kept ? x[i] * scale : 0.0F;
  }
}

void low_rank_row_norms(const NodeCall& call) {
  const Floats weight(call.in(0));
  const int64_t width = call.in(0).sizes[1];
  const bool has_delta = call.has(1);
  const Floats a(has_delta ? call.in(1) : Operand{});
  const Floats b(has_delta ? call.in(2) : Operand{});
  const int64_t rank = has_delta ? call.in(1).sizes[0] : 0;
  const auto factor = static_cast<double>(call.as<llmh_scalar_attrs>().value);
  for (int64_t row = 0; row < call.out().count; ++row) {
    double sum = 0;
    for (int64_t i = 0; i < width; ++i) {
      double delta = 0;
      for (int64_t r = 0; r < rank; ++r)
        delta += static_cast<double>(b[row * rank + r]) * static_cast<double>(a[r * width + i]);
      const double value = static_cast<double>(weight[row * width + i]) + factor * delta;
      sum += value * value;
    }
    call.out_floats()[row] = static_cast<float>(std::sqrt(sum));
  }
}

void accumulate(const NodeCall& call) {
  const Floats x(call.in(1));
  auto* sum = reinterpret_cast<float*>(call.in(0).data);
  for (int64_t i = 0; i < call.in(0).count; ++i) sum[i] += x[i];
}

}  // namespace llmhost::graph::eval
