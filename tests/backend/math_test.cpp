// The vector functions against the C library in double, in units of the last place, on every instruction set;
// and that an element's result does not depend on where in the vector it stands.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "backend_fixture.h"

namespace llmhost::test {
namespace {

constexpr int64_t kCount = 100003;

struct Function {
  int32_t kind;
  double (*exact)(double);
  float low, high;
  double max_ulp;  // as kernels/math-inl.h states
};

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}
double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}

const Function kFunctions[] = {
    {LLMH_UNARY_EXP, std::exp, -87.3F, 88.7F, 1.25}, {LLMH_UNARY_EXP, std::exp, -1e-3F, 1e-3F, 1},
    {LLMH_UNARY_LOG, std::log, 1e-6F, 1e6F, 4},      {LLMH_UNARY_LOG, std::log, 0.5F, 2.0F, 4},
    {LLMH_UNARY_TANH, std::tanh, -12.0F, 12.0F, 4},  {LLMH_UNARY_TANH, std::tanh, -0.1F, 0.1F, 4},
    {LLMH_UNARY_SIGMOID, sigmoid, -80.0F, 30.0F, 4}, {LLMH_UNARY_ERF, std::erf, -5.0F, 5.0F, 2},
    {LLMH_UNARY_ERF, std::erf, -1e-3F, 1e-3F, 2},    {LLMH_UNARY_SQRT, std::sqrt, 0.0F, 1e6F, 0.5001},
    {LLMH_UNARY_RSQRT, rsqrt, 1e-6F, 1e6F, 1.5},
};

double ulps(float got, double exact) {
  const float rounded = std::abs(static_cast<float>(exact));
  const float next = std::nextafter(rounded, std::numeric_limits<float>::infinity());
  return std::abs(static_cast<double>(got) - exact) / static_cast<double>(next - rounded);
}

struct UnaryModel {
  UnaryModel(Instance& instance, int32_t kind, int64_t width) {
    x = graph.add_placeholder(
        {LLMH_DTYPE_F32, {graph::symbol_dim(LLMH_DIM_TOKENS), graph::constant_dim(width)}});
    auto attrs = graph::make_attrs<llmh_unary_attrs>();
    attrs.kind = kind;
    const std::vector<llmh_tensor> inputs{x};
    y = graph.add_node(LLMH_OP_UNARY, "", inputs, &attrs, sizeof attrs)[0];
    model = std::make_unique<Model>(instance, graph, none);
  }
  std::vector<float> operator()(const std::vector<float>& values) {
    const StepArrays step({{0, 1, 0, 1}});
    model->write(x, values.data(), values.size() * sizeof(float));
    model->run(step);
    return model->read(y, step);
  }
  graph::Graph graph;
  Model::Weights none;
  std::unique_ptr<Model> model;
  llmh_tensor x = 0, y = 0;
};

}  // namespace

TEST_CASE("vector functions keep their stated errors") {
  for (const std::string& isa : usable_isas()) {
    Instance instance(cpu_backend(), isa);
    for (const Function& f : kFunctions) {
      UnaryModel model(instance, f.kind, kCount);
      const auto x = random_floats(static_cast<size_t>(kCount), 5, f.low, f.high);
      const auto y = model(x);
      double worst = 0;
      for (size_t i = 0; i < x.size(); ++i)
        worst = std::max(worst, ulps(y[i], f.exact(static_cast<double>(x[i]))));
      CAPTURE(isa);
      CAPTURE(f.kind);
      CAPTURE(f.low);
      CHECK(worst <= f.max_ulp);
    }
  }
}

TEST_CASE("an element's result does not depend on its place in the vector") {
  for (const std::string& isa : usable_isas()) {
    Instance instance(cpu_backend(), isa);
    for (const Function& f : kFunctions) {
      CAPTURE(isa);
      CAPTURE(f.kind);
      const auto x = random_floats(53, 6, f.low, f.high);
      UnaryModel all(instance, f.kind, 53);
      UnaryModel one(instance, f.kind, 1);
      const auto y = all(x);
      for (size_t i = 0; i < x.size(); ++i) CHECK(std::memcmp(one({x[i]}).data(), &y[i], sizeof(float)) == 0);
    }
  }
}

// Where results are subnormal a unit of the last place is 2^-149; infinite is what rounds to more than the
// largest number.
TEST_CASE("exp over its whole range") {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> x = {0.0F,       -0.0F, 1e-45F,   -1e-45F,  88.722832F,
                          88.722847F, 89.5F, -103.97F, -103.98F, -104.5F};
  for (float low = -104.0F; low < -87.0F; low += 0.0037F) x.push_back(low);
  for (float high = 88.0F; high < 89.0F; high += 0.0011F) x.push_back(high);
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    Instance instance(cpu_backend(), isa);
    UnaryModel model(instance, LLMH_UNARY_EXP, static_cast<int64_t>(x.size()));
    const auto y = model(x);
    size_t n_bad = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      const auto rounded = static_cast<float>(exact);
      if (rounded == infinity ? y[i] != infinity : !(ulps(y[i], exact) <= 1.25)) ++n_bad;
    }
    CHECK(n_bad == 0);
    UnaryModel one(instance, LLMH_UNARY_EXP, 1);
    CHECK(std::isnan(one({std::numeric_limits<float>::quiet_NaN()})[0]));
  }
}

TEST_CASE("exp and sigmoid at their ends") {
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    Instance instance(cpu_backend(), isa);
    const float infinity = std::numeric_limits<float>::infinity();
    UnaryModel exponential(instance, LLMH_UNARY_EXP, 4);
    CHECK(exponential({-infinity, -200.0F, 200.0F, infinity}) ==
          std::vector<float>{0.0F, 0.0F, infinity, infinity});
    UnaryModel logistic(instance, LLMH_UNARY_SIGMOID, 4);
    CHECK(logistic({-infinity, -200.0F, 200.0F, infinity}) == std::vector<float>{0.0F, 0.0F, 1.0F, 1.0F});
  }
}

}  // namespace llmhost::test
