// Attention over the tokens of a step and its gradient: against formulas in double that know nothing of tiles
// or lists, central differences, and serving attention of the same tokens.
#include <cmath>
#include <limits>

#include "core/error.h"
#include "double_eval.h"
#include "gradient_case.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::kTokens;
using test::named;
using test::node_run;
using test::NodeRun;
using test::Run;
using test::SlotState;
using test::StepData;
using test::Values;

// Double from inputs to results; out and lse come to the gradient as f32.
constexpr double kClose = 3e-6;

struct Variant {
  const char* name;
  int32_t heads = 4, kv_heads = 2, k_dim = 6, v_dim = 5;
  int32_t causal = 1, window = 0, chunk = 0;
  float softcap = 0;
  bool alibi = false, sinks = false;
  int32_t block_size = 0, local_blocks = 0, vertical_stride = 0, head_step = 0;
  float top_k_ratio = 0;
};

const Variant kVariants[] = {
    {.name = "causal"},
    {.name = "both ways", .causal = 0},
    {.name = "one key head", .heads = 3, .kv_heads = 1},
    {.name = "a key head each", .heads = 2, .kv_heads = 2, .k_dim = 1, .v_dim = 8},
    {.name = "window", .window = 3},
    {.name = "window both ways", .causal = 0, .window = 2},
    {.name = "chunk", .chunk = 4},
    {.name = "softcap", .softcap = 0.8F},
    {.name = "alibi", .alibi = true},
    {.name = "sinks", .sinks = true},
    {.name = "all but blocks",
     .window = 5,
     .softcap = 1.5F,
     .alibi = true,
     .sinks = true,
     .top_k_ratio = 0.6F},
    {.name = "blocks", .block_size = 2, .local_blocks = 2, .vertical_stride = 3, .head_step = 1},
    {.name = "nothing seen at first", .sinks = true, .block_size = 2, .vertical_stride = 4, .head_step = 1},
    {.name = "half of the keys", .top_k_ratio = 0.5F},
    {.name = "one key", .softcap = 1.0F, .sinks = true, .top_k_ratio = 0.01F},
    {.name = "all keys by ratio", .top_k_ratio = 1.0F},
};

llmh_attention_attrs attrs_of(const Variant& v) {
  auto attrs = make_attrs<llmh_attention_attrs>();
  attrs.slot = 2;
  attrs.n_heads = v.heads;
  attrs.n_kv_heads = v.kv_heads;
  attrs.k_head_dim = v.k_dim;
  attrs.v_head_dim = v.v_dim;
  attrs.scale = 0.6F;
  attrs.softcap = v.softcap;
  attrs.causal = v.causal;
  attrs.window = v.window;
  attrs.chunk = v.chunk;
  attrs.block_size = v.block_size;
  attrs.local_blocks = v.local_blocks;
  attrs.vertical_stride = v.vertical_stride;
  attrs.head_step = v.head_step;
  attrs.top_k_ratio = v.top_k_ratio;
  return attrs;
}

// q, k, v and what is per head, by name.
std::vector<llmh_tensor> inputs_for(Graph& graph, const Variant& v) {
  const auto rows = [&](const char* name, int32_t heads, int32_t dim) {
    return named(graph, name, {kTokens, constant_dim(heads * dim)});
  };
  const llmh_tensor q = rows("q", v.heads, v.k_dim);
  const llmh_tensor k = rows("k", v.kv_heads, v.k_dim);
  const llmh_tensor value = rows("v", v.kv_heads, v.v_dim);
  const auto vector = [&](const char* name, bool present) {
    return present ? named(graph, name, constant_dims({v.heads})) : LLMH_NO_TENSOR;
  };
  return {q, k, value, vector("slopes", v.alibi), vector("sinks", v.sinks)};
}

Values values_for(const Variant& v, size_t tokens, uint32_t seed = 11) {
  std::mt19937 random(seed);
  const auto floats = [&](int32_t heads, int32_t dim) {
    return test::random_floats(random, tokens * static_cast<size_t>(heads * dim));
  };
  Values values;
  values.floats["q"] = floats(v.heads, v.k_dim);
  values.floats["k"] = floats(v.kv_heads, v.k_dim);
  values.floats["v"] = floats(v.kv_heads, v.v_dim);
  if (v.alibi) values.floats["slopes"] = test::random_floats(random, static_cast<size_t>(v.heads), 0.3F);
  if (v.sinks) values.floats["sinks"] = test::random_floats(random, static_cast<size_t>(v.heads));
  return values;
}

NodeRun forward_run(const Variant& v) {
  Graph graph;
  const auto inputs = inputs_for(graph, v);
  return node_run(std::move(graph), LLMH_OP_ATTENTION_TRAIN, inputs, attrs_of(v));
}

NodeRun gradient_run(const Variant& v) {
  Graph graph;
  auto inputs = inputs_for(graph, v);
  inputs.push_back(named(graph, "out", {kTokens, constant_dim(v.heads * v.v_dim)}));
  inputs.push_back(named(graph, "lse", {kTokens, constant_dim(v.heads)}));
  inputs.push_back(named(graph, "dout", {kTokens, constant_dim(v.heads * v.v_dim)}));
  return node_run(std::move(graph), LLMH_OP_ATTENTION_GRAD, inputs, attrs_of(v));
}

TEST_CASE("attention_train and its gradient, all variants") {
  // Odd lengths, and a sequence without tokens.
  StepData step({0, 0, 0, 0}, {5, 1, 0, 9});
  step.all_rows();
  const size_t tokens = step.positions.size();
  for (const Variant& v : kVariants) {
    CAPTURE(v.name);
    Values values = values_for(v, tokens);
    Graph graph;
    const auto inputs = inputs_for(graph, v);
    const auto attrs = attrs_of(v);
    const auto made = graph.add_node(LLMH_OP_ATTENTION_TRAIN, "", inputs, &attrs, sizeof attrs);
    graph.set_name(made[0], "out");
    graph.set_name(made[1], "lse");
    test::add_random_loss(graph, made[0]);
    test::DoubleRun expected(graph, step);
    for (const auto& [name, floats] : values.floats) expected.set(name, floats);
    expected.eval();

    const auto results = forward_run(v).eval(step, values);
    CHECK(test::worst_error(results[0], expected.tensor("out").values) < 1e-6);
    for (size_t i = 0; i < results[1].size(); ++i) {
      const double lse = expected.tensor("lse").values[i];
      if (std::isinf(lse))
        CHECK(results[1][i] == -std::numeric_limits<float>::infinity());
      else
        CHECK(static_cast<double>(results[1][i]) == doctest::Approx(lse).epsilon(1e-6));
    }

    values.floats["out"] = results[0];
    values.floats["lse"] = results[1];
    values.floats["dout"] = test::loss_weights(tokens, static_cast<size_t>(v.heads * v.v_dim));
    const auto gradients = gradient_run(v).eval(step, values);
    const std::vector<std::string> names = {"q", "k", "v", "sinks"};
    for (size_t i = 0; i < names.size(); ++i) {
      CAPTURE(names[i]);
      if (names[i] == "sinks" && !v.sinks) {
        CHECK(gradients[i] == std::vector<float>(static_cast<size_t>(v.heads), 0.0F));
        continue;
      }
      const auto differences = test::central_differences(graph, step, values, names[i]);
      CHECK(test::worst_off(gradients[i], differences) < kClose);
    }
  }
}

TEST_CASE("a query that sees nothing has zeros, and gives none but zeros back") {
  const Variant v{.name = "", .block_size = 1, .vertical_stride = 3};
  StepData step({0}, {4});
  step.all_rows();
  Values values = values_for(v, 4);
  const auto results = forward_run(v).eval(step, values);
  const auto width = static_cast<size_t>(v.heads * v.v_dim);
  for (size_t i = 0; i < 2 * width; ++i) CHECK(results[0][i] == 0);  // key 2 is the first that is seen
  CHECK(std::isinf(results[1][0]));
  values.floats["out"] = results[0];
  values.floats["lse"] = results[1];
  values.floats["dout"].assign(4 * width, 1.0F);
  const auto gradients = gradient_run(v).eval(step, values);
  for (const auto& gradient : gradients)
    for (const float value : gradient) CHECK(std::isfinite(value));
  for (size_t i = 0; i < 2 * static_cast<size_t>(v.heads * v.k_dim); ++i) CHECK(gradients[0][i] == 0);
}

TEST_CASE("a sequence's numbers do not depend on its neighbours, bit for bit") {
  for (const Variant& v : kVariants) {
    CAPTURE(v.name);
    StepData both({0, 0}, {3, 6});
    StepData alone({0}, {6});
    Values values = values_for(v, 9);
    Values rest = values;
    for (const char* name : {"q", "k", "v"}) {
      auto& floats = rest.floats[name];
      floats.erase(floats.begin(), floats.begin() + static_cast<std::ptrdiff_t>(floats.size() / 3));
    }
    const auto joint = forward_run(v).eval(both, values);
    const auto single = forward_run(v).eval(alone, rest);
    for (size_t i = 0; i < 2; ++i)
      CHECK(std::equal(single[i].begin(), single[i].end(),
                       joint[i].begin() + static_cast<std::ptrdiff_t>(joint[i].size() / 3)));
  }
}

// The same tokens served in two steps over the state. 2e-6: its parts round scores and shares to f32.
TEST_CASE("serving attention gives what attention_train does") {
  for (const Variant& v : kVariants) {
    if (v.causal == 0) continue;  // keys of a later step are not there yet
    CAPTURE(v.name);
    Values values = values_for(v, 9);
    const auto expected = forward_run(v).eval(StepData({0}, {9}), values)[0];
    Graph graph;
    const auto inputs = inputs_for(graph, v);
    const llmh_tensor out = test::add(graph, LLMH_OP_ATTENTION, inputs, attrs_of(v));
    SlotState state(2, v.kv_heads, v.k_dim, v.v_dim, 1);
    std::vector<float> served;
    for (const auto& [past, fresh] : {std::pair{0, 6}, std::pair{6, 3}}) {
      Run run(graph, StepData({past}, {fresh}));
      for (const auto& [name, floats] : values.floats) {
        const size_t width = name == "slopes" || name == "sinks" ? 0 : floats.size() / 9;
        const auto first = floats.begin() + static_cast<std::ptrdiff_t>(width) * past;
        run.set(graph.find(name),
                width == 0 ? floats
                           : std::vector<float>(first, first + static_cast<std::ptrdiff_t>(width) * fresh));
      }
      const auto rows = run.bind(state).eval().floats(out);
      served.insert(served.end(), rows.begin(), rows.end());
    }
    CHECK(test::worst_error(served, {expected.begin(), expected.end()}) < 2e-6);
  }
}

TEST_CASE("how many keys a ratio keeps goes by its decimals") {
  for (int64_t percent = 1; percent <= 100; ++percent)
    for (int64_t n = 1; n <= 300; ++n) {
      const int64_t expected = std::max<int64_t>(1, (percent * n + 99) / 100);
      CHECK(llmh_top_k_kept(static_cast<float>(percent) / 100.0F, n) == expected);
    }
  CHECK(llmh_top_k_kept(1e-9F, 1000000) == 1);
  CHECK(llmh_top_k_kept(1.0F, INT32_MAX) == INT32_MAX);
  CHECK(llmh_top_k_kept(0.3F, 1000000) == 300000);
}

TEST_CASE("of equal scores the keys at lower positions stay") {
  const Variant v{.name = "", .heads = 1, .kv_heads = 1, .k_dim = 1, .v_dim = 1, .top_k_ratio = 0.5F};
  Values values;
  values.floats["q"] = {1, 1, 1, 1, 1};
  values.floats["k"] = {1, 1, 2, 1, 1};
  values.floats["v"] = {1, 10, 100, 1000, 10000};
  const auto out = forward_run(v).eval(StepData({0}, {5}), values)[0];
  CHECK(out[0] == 1);
  CHECK(out[1] == 1);
  // Two of three and two of four: the largest and the first; three of five: another of the lowest.
  const double more = std::exp(1.2);
  const double less = std::exp(0.6);
  const auto mean = [&](double others, double n) { return (others * less + 100 * more) / (n * less + more); };
  CHECK(static_cast<double>(out[2]) == doctest::Approx(mean(1, 1)).epsilon(1e-6));
  CHECK(static_cast<double>(out[3]) == doctest::Approx(mean(1, 1)).epsilon(1e-6));
  CHECK(static_cast<double>(out[4]) == doctest::Approx(mean(11, 2)).epsilon(1e-6));
}

TEST_CASE("top_k_ratio is checked, and has no parts") {
  Variant v{.name = ""};
  for (const float wrong : {-0.1F, 1.1F, std::numeric_limits<float>::quiet_NaN()}) {
    v.top_k_ratio = wrong;
    CHECK_THROWS_AS(forward_run(v), Error);
  }
  v.top_k_ratio = 0.5F;
  Graph graph;
  const auto inputs = inputs_for(graph, v);
  const auto attrs = attrs_of(v);
  graph.add_node(LLMH_OP_ATTENTION, "model.layers.0.self_attn", inputs, &attrs, sizeof attrs);
  CHECK_THROWS_WITH_AS(
      decompose(graph, [](const Graph&, uint32_t) { return false; }),
      "attention at model.layers.0.self_attn: the backend does not run attention that keeps the "
      "largest scores only (top_k_ratio 0.5)",
      Error);
}

}  // namespace
}  // namespace llmhost::graph
