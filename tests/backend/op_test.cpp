// Every op on every instruction set, compared with the host's reference evaluator on awkward shapes.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "op_case.h"

namespace llmhost::test {
namespace {

constexpr int64_t kWidths[] = {1, 3, 31, 33, 257};

}  // namespace

TEST_CASE("norms") {
  for (const int64_t width : kWidths) {
    for (const llmh_op op : {LLMH_OP_RMS_NORM, LLMH_OP_LAYER_NORM, LLMH_OP_ADD_RMS_NORM}) {
      for (const bool weighted : {true, false}) {
        CAPTURE(op);
        CAPTURE(width);
        OpCase c;
        c.activation(rows_of(width), 1);
        if (op == LLMH_OP_ADD_RMS_NORM) c.activation(rows_of(width), 2);
        if (weighted) c.weight({width}, 3);
        if (weighted && op == LLMH_OP_LAYER_NORM) c.weight({width}, 4);
        auto attrs = graph::make_attrs<llmh_norm_attrs>();
        attrs.eps =
            1e-2F;  // large enough that a row of one element, whose variance is 0, is well conditioned
        attrs.weight_offset = weighted ? 1.0F : 0.0F;
        c.node(op, attrs);
        check_case(c);
      }
    }
  }
}

TEST_CASE("activations") {
  for (int32_t kind = LLMH_ACT_SILU; kind <= LLMH_ACT_GELU_QUICK; ++kind) {
    CAPTURE(kind);
    auto attrs = graph::make_attrs<llmh_activation_attrs>();
    attrs.kind = kind;
    OpCase c;
    c.activation(rows_of(257), 1, -12.0F, 12.0F);
    c.node(LLMH_OP_ACTIVATION, attrs);
    check_case(c);
    OpCase gated;
    gated.activation(rows_of(33), 1, -12.0F, 12.0F);
    gated.activation(rows_of(33), 2);
    gated.node(LLMH_OP_GATED_ACTIVATION, attrs);
    check_case(gated);
  }
}

TEST_CASE("unary functions") {
  for (int32_t kind = LLMH_UNARY_NEG; kind <= LLMH_UNARY_COS; ++kind) {
    CAPTURE(kind);
    const bool positive = kind >= LLMH_UNARY_LOG && kind <= LLMH_UNARY_RSQRT;
    auto attrs = graph::make_attrs<llmh_unary_attrs>();
    attrs.kind = kind;
    OpCase c;
    c.activation(rows_of(257), 1, positive ? 1e-3F : -15.0F, 15.0F);
    c.node(LLMH_OP_UNARY, attrs);
    check_case(c);
  }
}

TEST_CASE("scalars, softmax and reductions") {
  for (const int64_t width : kWidths) {
    CAPTURE(width);
    auto scalar = graph::make_attrs<llmh_scalar_attrs>();
    scalar.value = 1.7F;
    for (const llmh_op op : {LLMH_OP_SOFTCAP, LLMH_OP_SCALE}) {
      OpCase c;
      c.activation(rows_of(width), 1, -9.0F, 9.0F);
      c.node(op, scalar);
      check_case(c);
    }
    OpCase softmax;
    softmax.activation(rows_of(width), 1, -9.0F, 9.0F);
    softmax.node(LLMH_OP_SOFTMAX);
    check_case(softmax);
    for (int32_t kind = LLMH_REDUCE_SUM; kind <= LLMH_REDUCE_MAX; ++kind) {
      auto attrs = graph::make_attrs<llmh_reduce_attrs>();
      attrs.kind = kind;
      OpCase c;
      c.activation(rows_of(width), 1);
      c.node(LLMH_OP_REDUCE, attrs);
      check_case(c, 2e-5);  // a sum of 257 terms of size 2 in f32: sqrt(257) roundings of the partial sums
    }
  }
}

TEST_CASE("binary ops broadcast") {
  const graph::Dims full{symbol_dim(LLMH_DIM_TOKENS), constant_dim(3), constant_dim(33)};
  const std::vector<graph::Dims> others = {full,
                                           {constant_dim(33)},
                                           {constant_dim(3), constant_dim(1)},
                                           {symbol_dim(LLMH_DIM_TOKENS), constant_dim(1), constant_dim(1)},
                                           {symbol_dim(LLMH_DIM_TOKENS), constant_dim(3), constant_dim(1)},
                                           {}};
  for (const llmh_op op : {LLMH_OP_ADD, LLMH_OP_SUB, LLMH_OP_MUL, LLMH_OP_DIV}) {
    for (size_t i = 0; i < others.size(); ++i) {
      for (const bool swapped : {false, true}) {
        CAPTURE(op);
        CAPTURE(i);
        OpCase c;
        c.activation(swapped ? others[i] : full, 1, 0.5F, 2.0F);
        c.activation(swapped ? full : others[i], 2, 0.5F, 2.0F);
        c.node(op);
        check_case(c);
      }
    }
  }
}

TEST_CASE("MATMUL batches, broadcasts and transposes") {
  for (const bool transposed : {false, true}) {
    for (const int64_t depth : {1, 31, 257}) {
      CAPTURE(transposed);
      CAPTURE(depth);
      auto attrs = graph::make_attrs<llmh_matmul_attrs>();
      attrs.transpose_b = transposed ? 1 : 0;
      const graph::Dims b{constant_dim(1), constant_dim(transposed ? 35 : depth),
                          constant_dim(transposed ? depth : 35)};
      OpCase c;
      c.activation({constant_dim(2), constant_dim(3), symbol_dim(LLMH_DIM_TOKENS), constant_dim(depth)}, 1);
      c.activation({constant_dim(3), b[1], b[2]}, 2);
      c.node(LLMH_OP_MATMUL, attrs);
      check_case(c, 2e-5);  // 257 products of size 4: sqrt(257) roundings
    }
  }
}

TEST_CASE("ops that move elements") {
  const graph::Dims dims{symbol_dim(LLMH_DIM_TOKENS), constant_dim(4), constant_dim(7)};
  OpCase reshaped;
  reshaped.activation(dims, 1);
  auto shape = graph::make_attrs<llmh_shape_attrs>();
  shape.rank = 2;
  shape.dims[0] = symbol_dim(LLMH_DIM_TOKENS);
  shape.dims[1] = constant_dim(28);
  reshaped.node(LLMH_OP_RESHAPE, shape);
  check_case(reshaped, 0.0);

  auto permute = graph::make_attrs<llmh_permute_attrs>();
  permute.rank = 3;
  for (const auto& axes : std::vector<std::vector<int32_t>>{{0, 2, 1}, {1, 0, 2}, {2, 1, 0}, {0, 1, 2}}) {
    for (size_t i = 0; i < 3; ++i) permute.axes[i] = axes[i];
    OpCase c;
    c.activation(dims, 1);
    c.node(LLMH_OP_PERMUTE, permute);
    check_case(c, 0.0);
  }
  for (const int32_t axis : {1, 2}) {
    auto slice = graph::make_attrs<llmh_slice_attrs>();
    slice.axis = axis;
    slice.begin = 1;
    slice.end = 3;
    OpCase c;
    c.activation(dims, 1);
    c.node(LLMH_OP_SLICE, slice);
    check_case(c, 0.0);
    auto concat = graph::make_attrs<llmh_axis_attrs>();
    concat.axis = axis;
    OpCase joined;
    joined.activation(dims, 1);
    joined.activation(dims, 2);
    joined.activation(dims, 3);
    joined.node(LLMH_OP_CONCAT, concat);
    check_case(joined, 0.0);
  }
  OpCase stretched;
  stretched.activation({symbol_dim(LLMH_DIM_TOKENS), constant_dim(1), constant_dim(7)}, 1);
  shape.rank = 3;
  shape.dims[1] = constant_dim(4);
  shape.dims[2] = constant_dim(7);
  stretched.node(LLMH_OP_BROADCAST, shape);
  check_case(stretched, 0.0);
}

TEST_CASE("ROPE rotates halves and neighbours, all or part of a head") {
  for (const int32_t style : {LLMH_ROPE_HALVES, LLMH_ROPE_INTERLEAVED}) {
    for (const int32_t rotary : {2, 20, 62}) {
      auto attrs = graph::make_attrs<llmh_rope_attrs>();
      attrs.n_heads = 3;
      attrs.head_dim = 62;
      attrs.rotary_dim = rotary;
      attrs.style = style;
      OpCase c;
      c.activation(rows_of(3 * 62), 1);
      c.activation(rows_of(rotary / 2), 2, -1.0F, 1.0F);
      c.activation(rows_of(rotary / 2), 3, -1.0F, 1.0F);
      c.node(LLMH_OP_ROPE, attrs);
      check_case(c);
    }
  }
}

TEST_CASE("ROPE_ANGLES for every scaling") {
  const auto factors = random_floats(32, 9, 1.0F, 4.0F);
  const auto longer = random_floats(32, 10, 4.0F, 9.0F);
  for (int32_t scaling = LLMH_ROPE_SCALING_NONE; scaling <= LLMH_ROPE_SCALING_LONGROPE; ++scaling) {
    for (const bool divided : {false, true}) {
      CAPTURE(scaling);
      auto attrs = graph::make_attrs<llmh_rope_angles_attrs>();
      attrs.rotary_dim = 64;
      attrs.theta = 10000.0F;
      attrs.scaling = scaling;
      attrs.factor = 4.0F;
      attrs.original_context = 20.0F;
      attrs.low_freq_factor = 1.0F;
      attrs.high_freq_factor = 4.0F;
      attrs.beta_fast = 32.0F;
      attrs.beta_slow = 1.0F;
      attrs.attention_factor = divided ? 1.2F : 0.0F;
      attrs.truncate = divided ? 1 : 0;
      attrs.short_factors = factors.data();
      attrs.long_factors = longer.data();
      OpCase c;
      c.inputs = {c.graph.add_input(LLMH_INPUT_POSITIONS), c.graph.add_input(LLMH_INPUT_ROPE_LENGTHS)};
      if (divided) {
        const std::vector<int64_t> shape{32};
        c.inputs.push_back(c.graph.add_constant("f", LLMH_DTYPE_F32, shape, bytes_of(factors)));
      }
      c.node(LLMH_OP_ROPE_ANGLES, attrs);
      // Angles are f32 products of size up to 33: one rounding of a frequency moves them by 33 * 2^-24.
      check_case(c, 6e-6);
    }
  }
}

TEST_CASE("GATHER, state and visibility ops agree with the reference") {
  OpCase gather;
  gather.activation({constant_dim(9), constant_dim(2), constant_dim(5)}, 1);
  const std::vector<int64_t> shape{4};
  const std::vector<int32_t> ids{8, 0, 3, 3};
  gather.inputs.push_back(
      gather.graph.add_constant("ids", LLMH_DTYPE_I32, shape, std::as_bytes(std::span(ids))));
  gather.node(LLMH_OP_GATHER);
  check_case(gather, 0.0);

  OpCase mask;
  auto attrs = graph::make_attrs<llmh_mask_attrs>();
  attrs.causal = 1;
  attrs.window = 5;
  mask.node(LLMH_OP_ATTENTION_MASK, attrs);
  check_case(mask, 0.0);
  OpCase distance;
  distance.node(LLMH_OP_ATTENTION_DISTANCE);
  check_case(distance, 0.0);

  OpCase state;
  state.states = {{.slot = 3, .n_kv_heads = 2, .k_head_dim = 5, .v_head_dim = 7, .page_tokens = 8}};
  state.activation(rows_of(10), 1);
  state.activation(rows_of(14), 2);
  auto write = graph::make_attrs<llmh_state_attrs>();
  write.slot = 3;
  state.node(LLMH_OP_STATE_WRITE, write);
  for (const int32_t part : {LLMH_PART_KEYS, LLMH_PART_VALUES}) {
    auto read = write;
    read.part = part;
    read.width = part == LLMH_PART_KEYS ? 10 : 14;
    const std::vector<llmh_tensor> none;
    state.outputs.push_back(state.graph.add_node(LLMH_OP_STATE_READ, "", none, &read, sizeof read)[0]);
  }
  check_case(state, 0.0);
}

TEST_CASE("clamp") {
  for (const auto& [low, high] :
       std::vector<std::pair<float, float>>{{-1, 1}, {0, INFINITY}, {-INFINITY, 0.5F}}) {
    auto attrs = graph::make_attrs<llmh_clamp_attrs>();
    attrs.min = low;
    attrs.max = high;
    OpCase c;
    c.activation(rows_of(33), 1);
    c.given[0].second[3] = -0.0F;
    c.given[0].second[4] = NAN;
    c.node(LLMH_OP_CLAMP, attrs);
    check_case(c, 0.0);
  }
}

TEST_CASE("NaN goes through instead of becoming a number") {
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    Instance instance(cpu_backend(), isa);
    for (int32_t kind = LLMH_ACT_SILU; kind <= LLMH_ACT_GELU_QUICK; ++kind) {
      CAPTURE(kind);
      auto attrs = graph::make_attrs<llmh_activation_attrs>();
      attrs.kind = kind;
      OpCase c;
      c.activation(rows_of(5), 1);
      for (float& value : c.given[0].second) value = NAN;
      c.node(LLMH_OP_ACTIVATION, attrs);
      const auto results = outputs_on(instance, c, StepArrays({{0, 3, 0, 3}}));
      for (const float y : results[0]) CHECK(std::isnan(y));
    }
  }
}

}  // namespace llmhost::test
