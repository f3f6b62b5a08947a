// The transposes of data movement, dropout, row norms and sums that stay: by hand, against a second evaluator
// in double, and by the identity <A x, y> = <x, A' y> that makes one the transpose of the other.
#include <limits>

#include "core/error.h"
#include "double_eval.h"
#include "gradient_case.h"
#include "graph/emit.h"
#include "graph/fuse.h"
#include "graph/lifetimes.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::kTokens;
using test::named;
using test::node_run;
using test::NodeRun;
using test::StepData;
using test::Values;

const StepData kNoTokens({0}, {0});

llmh_shape_attrs shape_of(const Dims& dims) {
  auto attrs = make_attrs<llmh_shape_attrs>();
  attrs.rank = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) attrs.dims[i] = dims[i];
  return attrs;
}

llmh_width_attrs width_of(int64_t width) {
  auto attrs = make_attrs<llmh_width_attrs>();
  attrs.width = width;
  return attrs;
}

std::vector<std::byte> bytes_of(const std::vector<int32_t>& ids) {
  const auto bytes = std::as_bytes(std::span(ids));
  return {bytes.begin(), bytes.end()};
}

double inner(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// Runs x -> A x and y -> A' y on random numbers. 1e-5: sums of f32 products.
struct Transposed {
  NodeRun op;
  NodeRun transpose;  // of inputs "y"
  StepData step;
  std::vector<int32_t> ids;  // of both, when there are any

  void check(uint32_t seed = 3) {
    std::mt19937 random(seed);
    const auto size = [&](const Graph& graph, const char* name) {
      return static_cast<size_t>(
          element_count(dims_of(graph.tensor(graph.find(name))), values_of(step.view())));
    };
    Values values;
    values.floats["x"] = test::random_floats(random, size(op.graph, "x"));
    values.floats["y"] = test::random_floats(random, size(transpose.graph, "y"));
    if (!ids.empty()) values.bytes["ids"] = bytes_of(ids);
    const auto forward = op.eval(step, values)[0];
    const auto back = transpose.eval(step, values)[0];
    CHECK(inner(forward, values.floats["y"]) ==
          doctest::Approx(inner(values.floats["x"], back)).epsilon(1e-5));
  }
};

TEST_CASE("reduce_to is the transpose of broadcast") {
  StepData step({0, 0}, {2, 3});
  const std::vector<std::pair<Dims, Dims>> cases = {
      {constant_dims({4}), {kTokens, constant_dim(4)}},
      {{}, {kTokens, constant_dim(3)}},
      {constant_dims({1, 3}), {kTokens, constant_dim(3)}},
      {{kTokens, constant_dim(1)}, {kTokens, constant_dim(3)}},
      {{constant_dim(2), constant_dim(1), kTokens, constant_dim(1)},
       {constant_dim(2), constant_dim(3), kTokens, constant_dim(4)}},
      {constant_dims({3, 1, 2}), {constant_dim(2), constant_dim(3), kTokens, constant_dim(2)}},
      {{kTokens, constant_dim(2)}, {kTokens, constant_dim(2)}},
  };
  for (const auto& [narrow, wide] : cases) {
    CAPTURE(to_text(narrow));
    Graph graph;
    const llmh_tensor x = named(graph, "x", narrow);
    Graph back;
    const llmh_tensor y = named(back, "y", wide);
    Transposed{node_run(std::move(graph), LLMH_OP_BROADCAST, {x}, shape_of(wide)),
               node_run(std::move(back), LLMH_OP_REDUCE_TO, {y}, shape_of(narrow)),
               step,
               {}}
        .check();
  }
  Graph empty;
  const llmh_tensor x = named(empty, "x", {kTokens, constant_dim(3)});
  NodeRun run = node_run(std::move(empty), LLMH_OP_REDUCE_TO, {x}, shape_of(constant_dims({3})));
  CHECK(run.eval(kNoTokens, {})[0] == std::vector<float>{0, 0, 0});
}

TEST_CASE("pad is the transpose of slice, of any axis") {
  const Dims wide = {constant_dim(3), kTokens, constant_dim(6)};
  for (const auto& [axis, begin, end] : {std::tuple{2, 1, 4}, std::tuple{2, 0, 6}, std::tuple{0, 2, 3},
                                         std::tuple{0, 1, 1}, std::tuple{2, 5, 6}}) {
    CAPTURE(begin);
    auto slice = make_attrs<llmh_slice_attrs>();
    slice.axis = axis;
    slice.begin = begin;
    slice.end = end;
    auto pad = make_attrs<llmh_pad_attrs>();
    pad.axis = axis;
    pad.begin = begin;
    pad.size = wide[static_cast<size_t>(axis)].size;
    Graph graph;
    const llmh_tensor x = named(graph, "x", wide);
    Dims narrow = wide;
    narrow[static_cast<size_t>(axis)] = constant_dim(end - begin);
    Graph back;
    const llmh_tensor y = named(back, "y", narrow);
    Transposed{node_run(std::move(graph), LLMH_OP_SLICE, {x}, slice),
               node_run(std::move(back), LLMH_OP_PAD, {y}, pad),
               StepData({0}, {5}),
               {}}
        .check();
  }
}

TEST_CASE("scatter_add is the transpose of gather, and adds what meets") {
  const std::vector<int32_t> ids = {4, 0, 4, 2, 4};
  Graph graph;
  const llmh_tensor x = named(graph, "x", constant_dims({6, 3, 2}));
  const llmh_tensor chosen = named(graph, "ids", {kTokens}, LLMH_DTYPE_I32);
  Graph back;
  const llmh_tensor y = named(back, "y", {kTokens, constant_dim(3), constant_dim(2)});
  const llmh_tensor places = named(back, "ids", {kTokens}, LLMH_DTYPE_I32);
  Transposed{node_run(std::move(graph), LLMH_OP_GATHER, {x, chosen}),
             node_run(std::move(back), LLMH_OP_SCATTER_ADD, {y, places}, shape_of(constant_dims({6, 3, 2}))),
             StepData({0}, {5}), ids}
      .check();

  // Output rows back to tokens; rows that are no output get zeros.
  Graph rows;
  const llmh_dim outputs = symbol_dim(LLMH_DIM_OUTPUTS);
  const llmh_tensor dx = named(rows, "y", {outputs, constant_dim(2)});
  const llmh_tensor output_rows = rows.add_input(LLMH_INPUT_OUTPUT_ROWS);
  NodeRun run =
      node_run(std::move(rows), LLMH_OP_SCATTER_ADD, {dx, output_rows}, shape_of({kTokens, constant_dim(2)}));
  CHECK(run.eval(StepData({0, 0}, {2, 1}), {{{"y", {1, 2, 3, 4}}}, {}})[0] ==
        std::vector<float>{0, 0, 1, 2, 3, 4});

  Graph wrong;
  const llmh_tensor wx = named(wrong, "y", constant_dims({1}));
  const llmh_tensor wids = named(wrong, "ids", constant_dims({1}), LLMH_DTYPE_I32);
  NodeRun outside = node_run(std::move(wrong), LLMH_OP_SCATTER_ADD, {wx, wids}, shape_of(constant_dims({3})));
  CHECK_THROWS_WITH_AS(outside.eval(kNoTokens, {{{"y", {1}}}, {{"ids", bytes_of({3})}}}),
                       "scatter_add: id 3 is outside the 3 places", Error);
}

TEST_CASE("scatter_last is the transpose of take and of top_k, and adds what meets") {
  const std::vector<int32_t> ids = {2, 0, 2, 1, 1, 1, 0, 3, 2};
  Graph graph;
  const llmh_tensor x = named(graph, "x", {kTokens, constant_dim(4)});
  const llmh_tensor chosen = named(graph, "ids", {kTokens, constant_dim(3)}, LLMH_DTYPE_I32);
  Graph back;
  const llmh_tensor y = named(back, "y", {kTokens, constant_dim(3)});
  const llmh_tensor places = named(back, "ids", {kTokens, constant_dim(3)}, LLMH_DTYPE_I32);
  Transposed{node_run(std::move(graph), LLMH_OP_TAKE, {x, chosen}),
             node_run(std::move(back), LLMH_OP_SCATTER_LAST, {y, places}, width_of(4)), StepData({0}, {3}),
             ids}
      .check();
  Graph wrong;
  const llmh_tensor wx = named(wrong, "y", constant_dims({1}));
  const llmh_tensor wids = named(wrong, "ids", constant_dims({1}), LLMH_DTYPE_I32);
  NodeRun outside = node_run(std::move(wrong), LLMH_OP_SCATTER_LAST, {wx, wids}, width_of(3));
  CHECK_THROWS_AS(outside.eval(kNoTokens, {{{"y", {1}}}, {{"ids", bytes_of({-1})}}}), Error);
}

TEST_CASE("detach is x, the step function 1 above 0") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Graph graph;
  const llmh_tensor x = named(graph, "x", constant_dims({5}));
  const Values values{{{"x", {-2, 0, -0.0F, 1e-30F, nan}}}, {}};
  auto step = make_attrs<llmh_unary_attrs>();
  step.kind = LLMH_UNARY_STEP;
  NodeRun run = node_run(std::move(graph), LLMH_OP_UNARY, {x}, step);
  CHECK(run.eval(kNoTokens, values)[0] == std::vector<float>{0, 0, 0, 1, 0});
  Graph other;
  const llmh_tensor half = named(other, "x", constant_dims({2}), LLMH_DTYPE_F16);
  NodeRun detached = node_run(std::move(other), LLMH_OP_DETACH, {half});
  CHECK(detached.eval(kNoTokens,
                      {{}, {{"x", {std::byte{0}, std::byte{0x3C}, std::byte{0}, std::byte{0xC0}}}}})[0] ==
        std::vector<float>{1, -2});
}

// Elements that dropout keeps of ones [rows,width], as 0 and 1.
std::vector<float> kept(uint64_t seed, int32_t site, float p, int32_t rows, int64_t width) {
  Graph graph;
  const llmh_tensor x = named(graph, "x", {kTokens, constant_dim(width)});
  auto attrs = make_attrs<llmh_dropout_attrs>();
  attrs.p = p;
  attrs.site = site;
  NodeRun run = node_run(std::move(graph), LLMH_OP_DROPOUT, {x}, attrs);
  StepData step({0}, {rows});
  step.dropout_seed = seed;
  auto result = run.eval(step, {{{"x", std::vector<float>(static_cast<size_t>(rows * width), 1.0F)}}, {}})[0];
  for (float& value : result) {
    const bool is_scaled = seed == 0 || value == 0 || value == 1.0F / (1.0F - p);
    CHECK(is_scaled);
    value = value != 0 ? 1.0F : 0.0F;
  }
  return result;
}

// The sample correlation of two masks.
double correlation(const std::vector<float>& a, const std::vector<float>& b, double p) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += (static_cast<double>(a[i]) - 1 + p) * (static_cast<double>(b[i]) - 1 + p);
  return sum / static_cast<double>(a.size()) / (p * (1 - p));
}

// Five deviations of a fair generator for each figure.
TEST_CASE("dropout keeps the share it should, and draws anew for seeds, sites, rows and columns") {
  constexpr int32_t kRows = 12;
  constexpr int64_t kWidth = 1000;
  constexpr double kCount = kRows * kWidth;
  for (const float p : {0.05F, 0.5F, 0.9F}) {
    CAPTURE(p);
    const auto mask = kept(77, 3, p, kRows, kWidth);
    const auto share = static_cast<double>(p);
    const double mean = std::accumulate(mask.begin(), mask.end(), 0.0) / kCount;
    CHECK(std::fabs(mean - (1 - share)) < 5 * std::sqrt(share * (1 - share) / kCount));
    CHECK(kept(77, 3, p, kRows, kWidth) == mask);
    for (const auto& other :
         {kept(78, 3, p, kRows, kWidth), kept(77, 4, p, kRows, kWidth), kept(77, -3, p, kRows, kWidth)})
      CHECK(std::fabs(correlation(mask, other, share)) < 5 / std::sqrt(kCount));
    for (const size_t shift : {size_t{1}, size_t{2}, size_t{kWidth}, size_t{kWidth + 1}}) {
      CAPTURE(shift);
      const std::vector<float> first(mask.begin(), mask.end() - static_cast<std::ptrdiff_t>(shift));
      const std::vector<float> second(mask.begin() + static_cast<std::ptrdiff_t>(shift), mask.end());
      CHECK(std::fabs(correlation(first, second, share)) <
            5 / std::sqrt(kCount - static_cast<double>(shift)));
    }
  }
  // A row's numbers do not depend on how many there are.
  const auto few = kept(77, 3, 0.5F, 3, kWidth);
  const auto many = kept(77, 3, 0.5F, kRows, kWidth);
  CHECK(std::equal(few.begin(), few.end(), many.begin()));
  CHECK(kept(0, 3, 0.5F, 2, 10) == std::vector<float>(20, 1.0F));
  CHECK(kept(5, 3, 0.0F, 2, 10) == std::vector<float>(20, 1.0F));
}

TEST_CASE("low_rank_row_norms are the norms of W + s b a") {
  for (const llmh_dtype dtype : {LLMH_DTYPE_F32, LLMH_DTYPE_BF16, LLMH_DTYPE_Q4_0, LLMH_DTYPE_Q6_K})
    for (const bool low_rank : {true, false}) {
      CAPTURE(dtype);
      Graph graph;
      const int64_t shape[] = {5, 256};
      const int64_t a_shape[] = {3, 256};
      const int64_t b_shape[] = {5, 3};
      const llmh_tensor w = graph.add_weight("w", dtype, shape);
      const llmh_tensor a = low_rank ? graph.add_parameter("a", a_shape, {}) : LLMH_NO_TENSOR;
      const llmh_tensor b = low_rank ? graph.add_parameter("b", b_shape, {}) : LLMH_NO_TENSOR;
      auto attrs = make_attrs<llmh_scalar_attrs>();
      attrs.value = -1.5F;
      Values values;
      test::fill_values(graph, values);
      NodeRun run = node_run(std::move(graph), LLMH_OP_LOW_RANK_ROW_NORMS, {w, a, b}, attrs);
      const auto actual = run.eval(kNoTokens, values)[0];
      test::DoubleRun expected(run.graph, kNoTokens);
      for (const auto& [name, floats] : values.floats) expected.set(name, floats);
      for (const auto& [name, bytes] : values.bytes) expected.set_bytes(name, bytes);
      expected.eval();
      CHECK(test::worst_error(actual, expected.tensor("result0").values) < 1e-6);
    }
}

TEST_CASE("accumulate adds to a parameter, is never dead and takes no place") {
  Graph graph;
  const int64_t shape[] = {2};
  const llmh_tensor sum = graph.add_parameter("sum", shape, {});
  Emit emit(graph, "");
  const llmh_tensor x = named(graph, "x", {kTokens, constant_dim(2)});
  const llmh_tensor total = emit.reduce_to(x, constant_dims({2}));
  const llmh_tensor inputs[] = {sum, total};
  CHECK(graph.add_node(LLMH_OP_ACCUMULATE, "", inputs).empty());
  emit.mul(x, 2.0F);  // nobody reads it
  const Graph alive = eliminate_dead(graph);
  REQUIRE(alive.node_count() == 2);
  CHECK(alive.node(1).op == LLMH_OP_ACCUMULATE);
  test::Run run(alive, StepData({0}, {3}));
  run.set(alive.find("x"), {1, 2, 3, 4, 5, 6}).set(alive.find("sum"), {100, 200});
  CHECK(run.eval().floats(alive.find("sum")) == std::vector<float>{109, 212});
  CHECK(run.eval().floats(alive.find("sum")) == std::vector<float>{118, 224});
  const ArenaPlan plan = plan_arena(alive, {sizeof(llmh_limits), 16, 4, 4, 64, 0, 0});
  CHECK(plan.offsets[static_cast<size_t>(alive.find("sum"))] == kNoOffset);

  const llmh_tensor wrong[] = {x, total};
  CHECK_THROWS_AS(graph.add_node(LLMH_OP_ACCUMULATE, "", wrong), Error);
  const int64_t two[] = {1, 2};
  const llmh_tensor other[] = {graph.add_weight("w", LLMH_DTYPE_F32, shape), total};
  CHECK_THROWS_WITH_AS(graph.add_node(LLMH_OP_ACCUMULATE, "", other),
                       "accumulate at : sum is 'w', it must be a parameter", Error);
  const llmh_tensor uneven[] = {graph.add_parameter("other", two, {}), total};
  CHECK_THROWS_WITH_AS(graph.add_node(LLMH_OP_ACCUMULATE, "", uneven),
                       "accumulate: x is [2], it must be [1,2]", Error);
}

}  // namespace
}  // namespace llmhost::graph
