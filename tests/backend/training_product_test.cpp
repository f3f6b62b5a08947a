// Linear layers of training programs and their gradients.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "core/dequantize.h"
#include "graph/emit.h"
#include "training_fixture.h"

namespace llmhost::test {
namespace {

using graph::constant_dim;
using graph::symbol_dim;

constexpr llmh_dtype kStoredTypes[] = {
    LLMH_DTYPE_F32,    LLMH_DTYPE_F16,     LLMH_DTYPE_BF16,  LLMH_DTYPE_F64,     LLMH_DTYPE_Q4_0,
    LLMH_DTYPE_Q4_1,   LLMH_DTYPE_Q5_0,    LLMH_DTYPE_Q5_1,  LLMH_DTYPE_Q8_0,    LLMH_DTYPE_Q2_K,
    LLMH_DTYPE_Q3_K,   LLMH_DTYPE_Q4_K,    LLMH_DTYPE_Q5_K,  LLMH_DTYPE_Q6_K,    LLMH_DTYPE_IQ4_NL,
    LLMH_DTYPE_IQ4_XS, LLMH_DTYPE_IQ1_S,   LLMH_DTYPE_IQ1_M, LLMH_DTYPE_IQ2_XXS, LLMH_DTYPE_IQ2_XS,
    LLMH_DTYPE_IQ2_S,  LLMH_DTYPE_IQ3_XXS, LLMH_DTYPE_IQ3_S, LLMH_DTYPE_TQ1_0,   LLMH_DTYPE_TQ2_0,
    LLMH_DTYPE_MXFP4,  LLMH_DTYPE_NVFP4,   LLMH_DTYPE_NF4,   LLMH_DTYPE_FP4,     LLMH_DTYPE_E4M3_32,
    LLMH_DTYPE_I8_32};

bool is_quantised(llmh_dtype dtype) {
  return llmh_dtype_layout_of(dtype).block_elements > 1;
}

graph::TensorType rows_type(int64_t width) {
  return {LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(width)}};
}

struct Shape {
  int64_t tokens, outputs, inputs;
};

// LINEAR with a bias, and the gradient of its input, of one weight.
struct Products {
  Products(const Shape& shape, llmh_dtype dtype, const std::vector<std::byte>* stored = nullptr) {
    graph.add_parameter("p", std::vector<int64_t>{1}, {});  // this makes a graph one for training
    const std::vector<int64_t> dims{shape.outputs, shape.inputs};
    const std::vector<int64_t> bias_dims{shape.outputs};
    w = graph.add_weight("w", dtype, dims);
    weights[w] = stored != nullptr ? *stored : random_blocks(dtype, shape.outputs, shape.inputs, 7);
    x = graph.add_placeholder(rows_type(shape.inputs));
    dy = graph.add_placeholder(rows_type(shape.outputs));
    b = graph.add_placeholder({LLMH_DTYPE_F32, {constant_dim(shape.outputs)}});
    graph::Emit emit(graph, "m");
    y = emit.op(LLMH_OP_LINEAR, {x, w, b});
    z = emit.op(LLMH_OP_LINEAR, {x, w});
    dx = emit.op(LLMH_OP_LINEAR_INPUT_GRAD, {dy, w});
  }
  graph::Graph graph;
  Model::Weights weights;
  llmh_tensor w = 0, x = 0, dy = 0, b = 0, y = 0, z = 0, dx = 0;
};

// The stored weight as bf16, as the products round it.
std::vector<std::byte> as_bf16(llmh_dtype dtype, const std::vector<std::byte>& data, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  dequantize_row(dtype, data.data(), values.data(), values.size());
  std::vector<std::byte> result(values.size() * 2);
  values = rounded_to_bf16(std::move(values));
  for (size_t i = 0; i < values.size(); ++i)
    std::memcpy(&result[2 * i], reinterpret_cast<const std::byte*>(&values[i]) + 2, 2);
  return result;
}

void check_products(const Shape& shape, llmh_dtype dtype, bool is_native) {
  CAPTURE(llmh_dtype_layout_of(dtype).name);
  CAPTURE(shape.tokens);
  CAPTURE(shape.outputs);
  CAPTURE(shape.inputs);
  const Products g(shape, dtype);
  const int64_t count = shape.outputs * shape.inputs;
  const bool rounds = is_native && (dtype == LLMH_DTYPE_BF16 || is_quantised(dtype));
  const auto stored = rounds ? as_bf16(dtype, g.weights.at(g.w), count) : g.weights.at(g.w);
  const Products same(shape, rounds ? LLMH_DTYPE_BF16 : dtype, &stored);
  TrainingCase test{g.graph, g.weights, same.graph, same.weights, {}};
  const auto size = [&](int64_t width) { return static_cast<size_t>(shape.tokens * width); };
  test.given[g.x] = random_floats(size(shape.inputs), 1);
  test.given[g.dy] = random_floats(size(shape.outputs), 2);
  test.given[g.b] = random_floats(static_cast<size_t>(shape.outputs), 3);
  if (rounds)
    for (const llmh_tensor tensor : {g.x, g.dy}) test.rounded[tensor] = rounded_to_bf16(test.given[tensor]);
  test.results = {g.y, g.z, g.dx};
  // Each of n additions rounds a sum below n/2 times the weight's magnitude at worst, in fact of its root.
  const auto n = static_cast<double>(std::max(shape.outputs, shape.inputs));
  test.tolerance = 0x1p-24 * n * weight_size(dtype, g.weights.at(g.w)) + 1e-6;
  test.precision = is_native ? LLMH_PRECISION_NATIVE : LLMH_PRECISION_F32;
  StepArrays arrays({{0, static_cast<int32_t>(shape.tokens), 0, 1}});
  check_training_case(test, arrays);
}

// dW of LINEAR for rows of tokens.
void check_weight_grad(const Shape& shape) {
  CAPTURE(shape.tokens);
  CAPTURE(shape.outputs);
  CAPTURE(shape.inputs);
  graph::Graph graph;
  const llmh_tensor dy = graph.add_placeholder(rows_type(shape.outputs));
  const llmh_tensor x = graph.add_placeholder(rows_type(shape.inputs));
  graph::Emit emit(graph, "m");
  const llmh_tensor dw = emit.op(LLMH_OP_LINEAR_WEIGHT_GRAD, {dy, x});
  const Model::Weights none;
  TrainingCase test{graph, none, graph, none, {}};
  test.given[dy] = random_floats(static_cast<size_t>(shape.tokens * shape.outputs), 1);
  test.given[x] = random_floats(static_cast<size_t>(shape.tokens * shape.inputs), 2);
  test.results = {dw};
  test.tolerance = 0x1p-24 * static_cast<double>(shape.tokens) + 1e-6;
  StepArrays arrays({{0, static_cast<int32_t>(shape.tokens), 0, 1}});
  check_training_case(test, arrays);
}

// Dimensions around those of tiles, panels and blocks of the depth.
constexpr Shape kShapes[] = {{1, 5, 3},     {17, 1, 1},     {16, 8, 100},  {33, 100, 8},
                             {29, 8, 600},  {20, 600, 8},   {15, 31, 33},  {70, 33, 129},
                             {47, 65, 64},  {100, 30, 500}, {64, 64, 64},  {18, 700, 40},
                             {16, 40, 900}, {300, 16, 24},  {40, 500, 12}, {90, 97, 100}};

}  // namespace

TEST_CASE("linear layers of training and the gradients of their inputs agree with the reference") {
  for (const Shape& shape : kShapes)
    for (const llmh_dtype dtype : {LLMH_DTYPE_F32, LLMH_DTYPE_BF16}) check_products(shape, dtype, false);
}

TEST_CASE("linear layers of training multiply with every stored type") {
  for (const llmh_dtype dtype : kStoredTypes) check_products({17, 40, 512}, dtype, false);
}

TEST_CASE("with native precision products with short types are those of bf16") {
  for (const Shape& shape : kShapes)
    if (shape.inputs >= 32 || shape.outputs < 64) check_products(shape, LLMH_DTYPE_BF16, true);
  for (const llmh_dtype dtype : kStoredTypes)
    if (is_quantised(dtype)) check_products({17, 64, 512}, dtype, true);
}

TEST_CASE("gradients of weights agree with the reference") {
  for (const Shape& shape : kShapes) check_weight_grad(shape);
  check_weight_grad({0, 12, 7});
  check_weight_grad({600, 40, 64});
}

// Rows are packed beforehand as many as their memory holds; here about 450 of these, and threads share them.
TEST_CASE("many deep rows give what each gives by itself") {
  constexpr int64_t kRows = 600;
  constexpr int64_t kLast = 70;
  constexpr int64_t kDeep = 8192;
  constexpr int64_t kNarrow = 200;
  const auto run = [&](const Shape& shape, bool is_forward, int64_t rows, int32_t threads) {
    const Products g(shape, LLMH_DTYPE_F32);
    Instance instance(cpu_backend(), {}, threads);
    Model model(instance, g.graph, g.weights);
    const std::vector<float> none(static_cast<size_t>(kRows * kDeep));
    const auto all = random_floats(none.size(), 1);
    const StepArrays step({{0, static_cast<int32_t>(rows), 0, 1}});
    const float* last = all.data() + (kRows - rows) * kDeep;
    model.write(g.x, is_forward ? last : none.data(),
                static_cast<size_t>(rows * shape.inputs) * sizeof(float));
    model.write(g.dy, is_forward ? none.data() : last,
                static_cast<size_t>(rows * shape.outputs) * sizeof(float));
    model.write(g.b, none.data(), static_cast<size_t>(shape.outputs) * sizeof(float));
    model.run(step);
    auto result = model.read(is_forward ? g.y : g.dx, step);
    return std::vector<float>(result.end() - kLast * kNarrow, result.end());
  };
  for (const bool is_forward : {true, false}) {
    const Shape shape = is_forward ? Shape{kRows, kNarrow, kDeep} : Shape{kRows, kDeep, kNarrow};
    const auto among_all = run(shape, is_forward, kRows, 3);
    CHECK(among_all == run(shape, is_forward, kLast, 1));
    CHECK(std::abs(among_all[0]) > 0);
  }
}

TEST_CASE("weights of training stay as stored, where they are") {
  Instance instance(cpu_backend(), {}, 0, LLMH_PRECISION_NATIVE);
  const auto data = random_blocks(LLMH_DTYPE_Q8_0, 64, 64, 1);
  llmh_weight_source source{};
  source.struct_size = sizeof source;
  source.dtype = LLMH_DTYPE_Q8_0;
  source.rank = 2;
  source.shape[0] = source.shape[1] = 64;
  source.name = LLMH_STR("w");
  source.data = data.data();
  source.bytes = data.size();
  source.uses = LLMH_USE_LINEAR;
  const auto bytes = [&] {
    uint64_t n = 0;
    REQUIRE(instance.backend.weight_bytes(instance.handle, &source, &n) == nullptr);
    return n;
  };
  source.uses |= LLMH_USE_TRAINING;
  CHECK(bytes() == data.size());  // a copy
  source.data_outlives = 1;
  CHECK(bytes() == 0);
}

}  // namespace llmhost::test
