#include "double_ops.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace llmhost::graph::test {
namespace {

using Sizes = std::vector<int64_t>;

int64_t count_of(const Sizes& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

// Places along each dimension of a flat index.
Sizes unravel(int64_t flat, const Sizes& sizes) {
  Sizes index(sizes.size());
  for (size_t d = sizes.size(); d-- > 0;) {
    index[d] = flat % sizes[d];
    flat /= sizes[d];
  }
  return index;
}

int64_t ravel(const Sizes& index, const Sizes& sizes) {
  int64_t flat = 0;
  for (size_t d = 0; d < sizes.size(); ++d) flat = flat * sizes[d] + index[d];
  return flat;
}

double at(const DoubleTensor& tensor, int64_t flat) {
  return tensor.values[static_cast<size_t>(flat)];
}

template <typename Value>
void fill(const DoubleCall& call, Value&& value) {
  for (int64_t i = 0; i < call.out().count(); ++i) call.out().values[static_cast<size_t>(i)] = value(i);
}

// Moves whole elements, values or ids: element i of the result is element place(i) of x.
template <typename Place>
void move(const DoubleCall& call, const DoubleTensor& x, Place&& place) {
  if (!x.ids.empty()) {
    call.out().values.clear();
    call.out().ids.resize(static_cast<size_t>(call.out().count()));
    for (int64_t i = 0; i < call.out().count(); ++i)
      call.out().ids[static_cast<size_t>(i)] = x.ids[static_cast<size_t>(place(i))];
    return;
  }
  fill(call, [&](int64_t i) { return at(x, place(i)); });
}

template <typename Combine>
void combine(const DoubleCall& call, Combine&& function) {
  const Sizes& sizes = call.out().sizes;
  fill(call, [&](int64_t i) {
    return function(at(call.in(0), stretched_place(i, sizes, call.in(0).sizes)),
                    at(call.in(1), stretched_place(i, sizes, call.in(1).sizes)));
  });
}

double apply(int32_t kind, double x) {
  switch (kind) {
    case LLMH_UNARY_NEG:
      return -x;
    case LLMH_UNARY_EXP:
      return std::exp(x);
    case LLMH_UNARY_LOG:
      return std::log(x);
    case LLMH_UNARY_SQRT:
      return std::sqrt(x);
    case LLMH_UNARY_RSQRT:
      return 1 / std::sqrt(x);
    case LLMH_UNARY_TANH:
      return std::tanh(x);
    case LLMH_UNARY_SIGMOID:
      return 1 / (1 + std::exp(-x));
    case LLMH_UNARY_ERF:
      return std::erf(x);
    case LLMH_UNARY_RELU:
      return std::max(x, 0.0);
    case LLMH_UNARY_ABS:
      return std::fabs(x);
    case LLMH_UNARY_SQUARE:
      return x * x;
    case LLMH_UNARY_SIN:
      return std::sin(x);
    case LLMH_UNARY_COS:
      return std::cos(x);
    default:
      return x > 0 ? 1.0 : 0.0;
  }
}

void reduce(const DoubleCall& call) {
  const int64_t width = call.in(0).sizes.back();
  const int32_t kind = call.as<llmh_reduce_attrs>().kind;
  fill(call, [&](int64_t row) {
    const auto first = call.in(0).values.begin() + row * width;
    if (kind == LLMH_REDUCE_MAX) return *std::max_element(first, first + width);
    const double sum = std::accumulate(first, first + width, 0.0);
    return kind == LLMH_REDUCE_SUM ? sum : sum / static_cast<double>(width);
  });
}

void matmul(const DoubleCall& call) {
  const bool transposed = call.as<llmh_matmul_attrs>().transpose_b != 0;
  const Sizes& sizes = call.out().sizes;
  const int64_t inner = call.in(0).sizes.back();
  const auto matrix = [&](int64_t i, const DoubleTensor& x) {
    const Sizes over(sizes.begin(), sizes.end() - 2);
    const Sizes from(x.sizes.begin(), x.sizes.end() - 2);
    return stretched_place(i, over, from) * x.sizes.back() * x.sizes[x.sizes.size() - 2];
  };
  const int64_t rows = sizes[sizes.size() - 2];
  const int64_t columns = sizes.back();
  fill(call, [&](int64_t flat) {
    const int64_t column = flat % columns;
    const int64_t a = matrix(flat / columns / rows, call.in(0)) + flat / columns % rows * inner;
    const int64_t b = matrix(flat / columns / rows, call.in(1));
    double sum = 0;
    for (int64_t k = 0; k < inner; ++k)
      sum += at(call.in(0), a + k) *
             at(call.in(1), b + (transposed ? column * inner + k : k * columns + column));
    return sum;
  });
}

void permute(const DoubleCall& call) {
  const auto& attrs = call.as<llmh_permute_attrs>();
  const Sizes& from = call.in(0).sizes;
  move(call, call.in(0), [&](int64_t i) {
    const Sizes to = unravel(i, call.out().sizes);
    Sizes index(from.size());
    for (size_t d = 0; d < to.size(); ++d) index[static_cast<size_t>(attrs.axes[d])] = to[d];
    return ravel(index, from);
  });
}

void slice(const DoubleCall& call) {
  const auto& attrs = call.as<llmh_slice_attrs>();
  move(call, call.in(0), [&](int64_t i) {
    Sizes index = unravel(i, call.out().sizes);
    index[static_cast<size_t>(attrs.axis)] += attrs.begin;
    return ravel(index, call.in(0).sizes);
  });
}

void concat(const DoubleCall& call) {
  const auto axis = static_cast<size_t>(call.as<llmh_axis_attrs>().axis);
  fill(call, [&](int64_t i) {
    Sizes index = unravel(i, call.out().sizes);
    size_t part = 0;
    for (; index[axis] >= call.in(part).sizes[axis]; ++part) index[axis] -= call.in(part).sizes[axis];
    return at(call.in(part), ravel(index, call.in(part).sizes));
  });
}

void gather(const DoubleCall& call) {
  const int64_t width = count_of(call.in(0).sizes) / std::max<int64_t>(call.in(0).sizes[0], 1);
  move(call, call.in(0), [&](int64_t i) {
    return int64_t{call.in(1).ids.at(static_cast<size_t>(i / width))} * width + i % width;
  });
}

std::vector<int64_t> largest(const DoubleCall& call, int64_t row, int32_t k) {
  const int64_t width = call.in(0).sizes.back();
  std::vector<int64_t> order(static_cast<size_t>(width));
  std::iota(order.begin(), order.end(), row * width);
  std::ranges::stable_sort(order,
                           [&](int64_t a, int64_t b) { return at(call.in(0), a) > at(call.in(0), b); });
  order.resize(static_cast<size_t>(k));
  return order;
}

void top_k(const DoubleCall& call) {
  const int32_t k = call.as<llmh_top_k_attrs>().k;
  const int64_t width = call.in(0).sizes.back();
  call.out(0).values.clear();
  call.out(1) = {call.out(1).sizes, {}, {}};
  for (int64_t row = 0; row * width < call.in(0).count(); ++row)
    for (const int64_t place : largest(call, row, k)) {
      call.out(0).values.push_back(at(call.in(0), place));
      call.out(1).ids.push_back(static_cast<int32_t>(place - row * width));
    }
}

void top_k_mask(const DoubleCall& call) {
  const int64_t width = call.in(0).sizes.back();
  for (int64_t row = 0; row * width < call.in(0).count(); ++row)
    for (const int64_t place : largest(call, row, call.as<llmh_top_k_attrs>().k))
      call.out().values[static_cast<size_t>(place)] = 1;
}

void take(const DoubleCall& call) {
  const int64_t taken = call.out().sizes.back();
  move(call, call.in(0), [&](int64_t i) {
    return i / taken * call.in(0).sizes.back() + call.in(1).ids[static_cast<size_t>(i)];
  });
}

void cast(const DoubleCall& call) {
  if (call.in(0).ids.empty()) return move(call, call.in(0), [](int64_t i) { return i; });
  fill(call, [&](int64_t i) { return static_cast<double>(call.in(0).ids[static_cast<size_t>(i)]); });
}

}  // namespace

int64_t stretched_place(int64_t flat, const Sizes& over, const Sizes& from) {
  const Sizes index = unravel(flat, over);
  int64_t place = 0;
  for (size_t d = 0; d < from.size(); ++d)
    place = place * from[d] + (from[d] == 1 ? 0 : index[index.size() - from.size() + d]);
  return place;
}

DoubleOp double_op(llmh_op op) {
  using Call = const DoubleCall&;
  static const std::map<llmh_op, DoubleOp> kOps = {
      {LLMH_OP_ADD, [](Call call) { combine(call, [](double a, double b) { return a + b; }); }},
      {LLMH_OP_SUB, [](Call call) { combine(call, [](double a, double b) { return a - b; }); }},
      {LLMH_OP_MUL, [](Call call) { combine(call, [](double a, double b) { return a * b; }); }},
      {LLMH_OP_DIV, [](Call call) { combine(call, [](double a, double b) { return a / b; }); }},
      {LLMH_OP_UNARY,
       [](Call call) {
         fill(call, [&](int64_t i) { return apply(call.as<llmh_unary_attrs>().kind, at(call.in(0), i)); });
       }},
      {LLMH_OP_CLAMP,
       [](Call call) {
         const auto& attrs = call.as<llmh_clamp_attrs>();
         fill(call, [&](int64_t i) {
           return std::clamp(at(call.in(0), i), static_cast<double>(attrs.min),
                             static_cast<double>(attrs.max));
         });
       }},
      {LLMH_OP_REDUCE, reduce},
      {LLMH_OP_MATMUL, matmul},
      {LLMH_OP_RESHAPE, [](Call call) { move(call, call.in(0), [](int64_t i) { return i; }); }},
      {LLMH_OP_PERMUTE, permute},
      {LLMH_OP_SLICE, slice},
      {LLMH_OP_CONCAT, concat},
      {LLMH_OP_BROADCAST,
       [](Call call) {
         move(call, call.in(0),
              [&](int64_t i) { return stretched_place(i, call.out().sizes, call.in(0).sizes); });
       }},
      {LLMH_OP_GATHER, gather},
      {LLMH_OP_CAST, cast},
      {LLMH_OP_TOP_K, top_k},
      {LLMH_OP_TOP_K_MASK, top_k_mask},
      {LLMH_OP_TAKE, take},
      {LLMH_OP_DETACH, [](Call call) { move(call, call.in(0), [](int64_t i) { return i; }); }},
  };
  const auto found = kOps.find(op);
  return found == kOps.end() ? nullptr : found->second;
}

}  // namespace llmhost::graph::test
