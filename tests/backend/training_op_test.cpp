// Ops of backward passes beside products and attention, compared with the host's reference evaluator, and
// with themselves on other numbers of threads.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "graph/emit.h"
#include "op_case.h"

namespace llmhost::test {
namespace {

constexpr int64_t kWidths[] = {1, 3, 31, 33, 257};

const CaseSteps kFew = {{0, 1, 3, 33}, 0};
const CaseSteps kMany = {{0, 1, 3, 33, 597}, 0};  // enough that rows are summed in parts

llmh_shape_attrs shape_of(const graph::Dims& dims) {
  auto attrs = graph::make_attrs<llmh_shape_attrs>();
  attrs.rank = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), attrs.dims);
  return attrs;
}

}  // namespace

TEST_CASE("gradients of norms") {
  for (const int64_t width : kWidths) {
    for (const llmh_op op : {LLMH_OP_RMS_NORM_GRAD, LLMH_OP_LAYER_NORM_GRAD}) {
      for (const bool weighted : {true, false}) {
        CAPTURE(op);
        CAPTURE(width);
        OpCase c;
        c.activation(rows_of(width), 1);
        if (weighted)
          c.weight({width}, 2);
        else
          c.inputs.push_back(LLMH_NO_TENSOR);
        c.activation(rows_of(width), 3);
        auto attrs = graph::make_attrs<llmh_norm_attrs>();
        attrs.eps = 1e-2F;
        attrs.weight_offset = weighted ? 1.0F : 0.0F;
        c.node(op, attrs);
        // Rows of one or three elements may lie near their mean: 1 / deviation is up to 10.
        check_case(c, 5e-5, kFew);
      }
    }
    for (const llmh_op op : {LLMH_OP_RMS_NORM_WEIGHT_GRAD, LLMH_OP_LAYER_NORM_WEIGHT_GRAD}) {
      CAPTURE(op);
      CAPTURE(width);
      OpCase c;
      c.activation(rows_of(width), 1);
      c.activation(rows_of(width), 2);
      auto attrs = graph::make_attrs<llmh_norm_attrs>();
      attrs.eps = 1e-2F;
      c.node(op, attrs);
      check_case(c, 5e-5, kMany);
    }
  }
}

TEST_CASE("gradients of activations and of softmax") {
  for (int32_t kind = LLMH_ACT_SILU; kind <= LLMH_ACT_GELU_QUICK; ++kind) {
    CAPTURE(kind);
    auto attrs = graph::make_attrs<llmh_activation_attrs>();
    attrs.kind = kind;
    OpCase c;
    c.activation(rows_of(257), 1, -15.0F, 15.0F);
    c.activation(rows_of(257), 2);
    c.node(LLMH_OP_ACTIVATION_GRAD, attrs);
    check_case(c, 1e-5, kFew);  // x times a small difference of numbers near 1
    OpCase gated;
    gated.activation(rows_of(65), 1, -15.0F, 15.0F);
    gated.activation(rows_of(65), 2);
    gated.activation(rows_of(65), 3);
    gated.node(LLMH_OP_GATED_ACTIVATION_GRAD, attrs);
    check_case(gated, 1e-5, kFew);
  }
  for (const int64_t width : kWidths) {
    OpCase c;
    c.activation(rows_of(width), 1, 0.0F, 1.0F);
    c.activation(rows_of(width), 2);
    c.node(LLMH_OP_SOFTMAX_GRAD);
    check_case(c, 1e-5, kFew);  // a sum of 257 terms
  }
}

TEST_CASE("DROPOUT draws the numbers of its definition") {
  for (const float p : {0.0F, 0.1F, 0.5F, 0.999F, 1e-12F}) {
    for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{0xFEDCBA9876543210}}) {
      CAPTURE(p);
      CAPTURE(seed);
      auto attrs = graph::make_attrs<llmh_dropout_attrs>();
      attrs.p = p;
      attrs.site = seed == 1 ? -5 : 7;
      OpCase c;
      c.activation({symbol_dim(LLMH_DIM_TOKENS), constant_dim(3), constant_dim(23)}, 1, 0.5F, 2.0F);
      c.node(LLMH_OP_DROPOUT, attrs);
      check_case(c, 1e-6, {{0, 1, 33, 400}, seed});
    }
  }
}

TEST_CASE("REDUCE_TO sums over what was stretched") {
  const llmh_dim t = symbol_dim(LLMH_DIM_TOKENS);
  const auto c = [](int64_t size) { return constant_dim(size); };
  const std::vector<std::pair<graph::Dims, graph::Dims>> cases = {
      {{t, c(3), c(33)}, {t, c(3), c(33)}},
      {{t, c(3), c(33)}, {c(33)}},
      {{t, c(3), c(33)}, {c(3), c(1)}},
      {{t, c(3), c(33)}, {c(3), c(33)}},
      {{t, c(3), c(33)}, {t, c(1), c(1)}},
      {{t, c(3), c(33)}, {t, c(3), c(1)}},
      {{t, c(3), c(33)}, {t, c(1), c(33)}},
      {{t, c(3), c(33)}, {c(1), c(1), c(33)}},
      {{t, c(3), c(33)}, {}},
      {{c(2), t, c(4), c(5)}, {t, c(1), c(5)}},
      {{c(2), t, c(4), c(5)}, {c(2), c(1), c(4), c(1)}},
      {{c(2), c(3), t, c(5)}, {c(3), t, c(1)}},
      {{t, c(1), c(5)}, {c(1), c(1), c(1)}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    OpCase op;
    op.activation(cases[i].first, 1);
    op.node(LLMH_OP_REDUCE_TO, shape_of(cases[i].second));
    check_case(op, 1e-4, kMany);  // up to 60000 terms of size 2, whose sum may be near 0
  }
}

TEST_CASE("PAD, SCATTER_LAST and UNARY_STEP") {
  const graph::Dims dims{symbol_dim(LLMH_DIM_TOKENS), constant_dim(4), constant_dim(7)};
  for (const int32_t axis : {1, 2}) {
    for (const int64_t begin : {0, 2, 5}) {
      auto attrs = graph::make_attrs<llmh_pad_attrs>();
      attrs.axis = axis;
      attrs.begin = begin;
      attrs.size = dims[static_cast<size_t>(axis)].size + 5;
      OpCase c;
      c.activation(dims, 1);
      c.node(LLMH_OP_PAD, attrs);
      check_case(c, 0.0, kFew);
    }
  }
  OpCase scattered;  // the places of the three largest of seven, into rows of eleven
  scattered.activation(dims, 1);
  auto top = graph::make_attrs<llmh_top_k_attrs>();
  top.k = 3;
  scattered.node(LLMH_OP_TOP_K, top);
  scattered.inputs = scattered.outputs;
  auto width = graph::make_attrs<llmh_width_attrs>();
  width.width = 11;
  scattered.node(LLMH_OP_SCATTER_LAST, width);
  check_case(scattered, 0.0, kFew);
  OpCase step;
  step.activation(dims, 1, -1.0F, 1.0F);
  auto unary = graph::make_attrs<llmh_unary_attrs>();
  unary.kind = LLMH_UNARY_STEP;
  step.node(LLMH_OP_UNARY, unary);
  check_case(step, 0.0, kFew);
}

TEST_CASE("activations go to 16 bits and back, and DETACH copies") {
  for (const llmh_dtype dtype : {LLMH_DTYPE_F16, LLMH_DTYPE_BF16}) {
    for (const llmh_op back : {LLMH_OP_CAST, LLMH_OP_DETACH}) {
      OpCase c;
      c.activation(rows_of(37), 1, -70000.0F, 70000.0F);
      auto attrs = graph::make_attrs<llmh_cast_attrs>();
      attrs.dtype = dtype;
      c.node(LLMH_OP_CAST, attrs);
      c.inputs = c.outputs;
      attrs.dtype = LLMH_DTYPE_F32;
      if (back == LLMH_OP_CAST)
        c.node(back, attrs);
      else
        c.node(back);
      check_case(c, 0.0, kFew);
    }
  }
  OpCase c;
  c.activation(rows_of(37), 1);
  c.node(LLMH_OP_DETACH);
  check_case(c, 0.0, kFew);
}

namespace {

// What a layer's backward pass is like between products: most of it is row-wise.
struct Chain {
  graph::Graph graph;
  llmh_tensor x, dy;
  std::vector<llmh_tensor> outputs;

  Chain() {
    graph::Emit emit(graph, "m");
    x = graph.add_placeholder({LLMH_DTYPE_F32, rows_of(96)});
    dy = graph.add_placeholder({LLMH_DTYPE_F32, rows_of(96)});
    auto norm = graph::make_attrs<llmh_norm_attrs>();
    norm.eps = 1e-5F;
    auto act = graph::make_attrs<llmh_activation_attrs>();
    act.kind = LLMH_ACT_SILU;
    auto drop = graph::make_attrs<llmh_dropout_attrs>();
    drop.p = 0.25F;
    drop.site = 3;
    const llmh_tensor dx = node(LLMH_OP_RMS_NORM_GRAD, {x, LLMH_NO_TENSOR, dy}, norm)[0];
    const auto gated = node(LLMH_OP_GATED_ACTIVATION_GRAD, {x, dx, dy}, act);
    const llmh_tensor sum = emit.add(gated[0], gated[1]);
    const llmh_tensor dropped = node(LLMH_OP_DROPOUT, {sum}, drop)[0];
    const llmh_tensor half = emit.slice(dropped, 1, 16, 64);
    auto pad = graph::make_attrs<llmh_pad_attrs>();
    pad.axis = 1;
    pad.begin = 16;
    pad.size = 96;
    const llmh_tensor padded = node(LLMH_OP_PAD, {half}, pad)[0];
    const llmh_tensor heads =
        emit.reshape(padded, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(6), constant_dim(16)});
    const llmh_tensor turned = emit.permute(heads, {0, 2, 1});
    const llmh_tensor one =
        node(LLMH_OP_REDUCE_TO, {turned},
             shape_of({symbol_dim(LLMH_DIM_TOKENS), constant_dim(1), constant_dim(6)}))[0];
    const llmh_tensor wide = emit.broadcast(one, emit.dims(turned));
    const llmh_tensor cast = emit.cast(emit.cast(wide, LLMH_DTYPE_BF16), LLMH_DTYPE_F32);
    const llmh_tensor weight = node(LLMH_OP_RMS_NORM_WEIGHT_GRAD, {x, dropped}, norm)[0];
    const llmh_tensor all = node(LLMH_OP_REDUCE_TO, {cast}, shape_of({constant_dim(6)}))[0];
    outputs = {dx, gated[0], gated[1], dropped, padded, one, cast, weight, all};
  }

  template <typename Attrs>
  std::vector<llmh_tensor> node(llmh_op op, const std::vector<llmh_tensor>& inputs, const Attrs& attrs) {
    return graph.add_node(op, "m", inputs, &attrs, sizeof attrs);
  }

  std::vector<std::vector<float>> run(Instance& instance) const {
    Model m(instance, graph, {});
    StepArrays step({{0, 300, 0, 300}, {0, 0, 1, 0}, {0, 259, 2, 259}});
    step.step.dropout_seed = 99;
    const auto rows = random_floats(559 * 96, 1);
    const auto gradients = random_floats(559 * 96, 2);
    m.write(x, rows.data(), rows.size() * sizeof(float));
    m.write(dy, gradients.data(), gradients.size() * sizeof(float));
    m.run(step);
    std::vector<std::vector<float>> result;
    for (const llmh_tensor output : outputs) result.push_back(m.read(output, step));
    return result;
  }
};

}  // namespace

TEST_CASE("a backward pass between products has the same bits on any number of threads") {
  const Chain chain;
  Instance reference(*graph::reference_backend());
  const auto want = chain.run(reference);
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    Instance alone(cpu_backend(), isa);
    const auto first = chain.run(alone);
    // The rounding to bf16 in between may fall to either side: 2^-8 of numbers up to 20.
    for (size_t i = 0; i < want.size(); ++i) {
      CAPTURE(i);
      CHECK(worst_error(first[i], want[i]) <= (i < 6 ? 2e-5 : 1e-2));
    }
    for (const int32_t threads : {1, 2, 3}) {
      Instance instance(cpu_backend(), isa, threads);
      const auto got = chain.run(instance);
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK(std::memcmp(got[i].data(), first[i].data(), got[i].size() * sizeof(float)) == 0);
      }
    }
  }
}

}  // namespace llmhost::test
