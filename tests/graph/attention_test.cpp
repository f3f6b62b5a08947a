// Attention against a double loop over every query and key in double precision, which knows nothing of pages,
// graphs or decompositions.
#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "graph_run.h"

namespace llmhost::graph {
namespace {

using test::kTokens;
using test::placeholder;
using test::random_floats;
using test::Run;
using test::SlotState;
using test::StepData;
using Rows = std::vector<std::vector<float>>;

struct Variant {
  const char* name;
  int32_t heads = 4;
  int32_t kv_heads = 2;
  int32_t k_dim = 8;
  int32_t v_dim = 8;
  int32_t causal = 1;
  int32_t window = 0;
  float softcap = 0;
  bool alibi = false;
  bool sinks = false;
  int32_t chunk = 0;
  int32_t block_size = 0, local_blocks = 0, vertical_stride = 0, head_step = 0;
};

struct Model {
  Model(const Variant& v, std::mt19937& random) : variant(v) {
    attrs = make_attrs<llmh_attention_attrs>();
    attrs.slot = 5;
    attrs.n_heads = v.heads;
    attrs.n_kv_heads = v.kv_heads;
    attrs.k_head_dim = v.k_dim;
    attrs.v_head_dim = v.v_dim;
    attrs.scale = 0.4F;
    attrs.softcap = v.softcap;
    attrs.causal = v.causal;
    attrs.window = v.window;
    attrs.chunk = v.chunk;
    attrs.block_size = v.block_size;
    attrs.local_blocks = v.local_blocks;
    attrs.vertical_stride = v.vertical_stride;
    attrs.head_step = v.head_step;
    q = placeholder(graph, {kTokens, constant_dim(v.heads * v.k_dim)});
    k = placeholder(graph, {kTokens, constant_dim(v.kv_heads * v.k_dim)});
    value = placeholder(graph, {kTokens, constant_dim(v.kv_heads * v.v_dim)});
    slopes = random_floats(random, static_cast<size_t>(v.heads), 0.3F);
    sinks = random_floats(random, static_cast<size_t>(v.heads), 2.0F);
    const int64_t shape[] = {v.heads};
    const llmh_tensor slope =
        graph.add_constant("slopes", LLMH_DTYPE_F32, shape, std::as_bytes(std::span(slopes)));
    const llmh_tensor sink =
        graph.add_constant("sinks", LLMH_DTYPE_F32, shape, std::as_bytes(std::span(sinks)));
    out = test::add(graph, LLMH_OP_ATTENTION,
                    {q, k, value, v.alibi ? slope : LLMH_NO_TENSOR, v.sinks ? sink : LLMH_NO_TENSOR}, attrs);
  }

  Variant variant;
  llmh_attention_attrs attrs;
  Graph graph;
  llmh_tensor q, k, value, out;
  std::vector<float> slopes, sinks;
};

// Whether the head sees the key's block: it is near, or one of every vertical_stride.
bool in_blocks(const Variant& v, int32_t head, int64_t query, int64_t key) {
  if (v.block_size == 0) return true;
  const int64_t q = query / v.block_size;
  const int64_t k = key / v.block_size;
  return q - k < v.local_blocks || (k + int64_t{head} * v.head_step + 1) % v.vertical_stride == 0;
}

// One query at `position` over the keys and values of its sequence.
std::vector<double> attend(const Model& model, const float* query, int64_t position, const Rows& keys,
                           const Rows& values) {
  const Variant& v = model.variant;
  std::vector<double> result(static_cast<size_t>(v.heads * v.v_dim), 0.0);
  for (int32_t head = 0; head < v.heads; ++head) {
    const int32_t kv = head / (v.heads / v.kv_heads);
    std::vector<double> weights(keys.size(), 0.0);
    double sum = v.sinks ? std::exp(static_cast<double>(model.sinks[static_cast<size_t>(head)])) : 0.0;
    for (size_t p = 0; p < keys.size(); ++p) {
      const auto distance = static_cast<int64_t>(p) - position;
      if ((v.causal != 0 && distance > 0) || (v.window != 0 && distance <= -v.window)) continue;
      if (v.chunk != 0 && static_cast<int64_t>(p) < position / v.chunk * v.chunk) continue;
      if (!in_blocks(v, head, position, static_cast<int64_t>(p))) continue;
      double score = 0;
      for (int32_t i = 0; i < v.k_dim; ++i)
        score += static_cast<double>(query[head * v.k_dim + i]) *
                 static_cast<double>(keys[p][static_cast<size_t>(kv * v.k_dim + i)]);
      score *= static_cast<double>(model.attrs.scale);
      const auto cap = static_cast<double>(v.softcap);
      if (cap > 0) score = cap * std::tanh(score / cap);
      if (v.alibi)
        score += static_cast<double>(model.slopes[static_cast<size_t>(head)]) * static_cast<double>(distance);
      weights[p] = std::exp(score);
      sum += weights[p];
    }
    for (size_t p = 0; p < keys.size(); ++p)
      for (int32_t i = 0; i < v.v_dim; ++i)
        result[static_cast<size_t>(head * v.v_dim + i)] +=
            weights[p] / sum * static_cast<double>(values[p][static_cast<size_t>(kv * v.v_dim + i)]);
  }
  return result;
}

std::vector<float> row_of(const std::vector<float>& all, size_t row, size_t width) {
  return {all.begin() + static_cast<std::ptrdiff_t>(row * width),
          all.begin() + static_cast<std::ptrdiff_t>((row + 1) * width)};
}

// Three ragged steps: prompts, a chunk beside decoding, decoding. 1e-5: scores are f32 sums of a few products
// of size 1, whose rounding softmax passes on.
void check_variant(const Variant& variant) {
  CAPTURE(variant.name);
  std::mt19937 random(7);
  Model model(variant, random);
  const std::vector<std::vector<int32_t>> steps = {{5, 1, 9}, {1, 6, 3}, {1, 1, 1}};
  SlotState state(5, variant.kv_heads, variant.k_dim, variant.v_dim, 3);
  std::vector<int32_t> past(3, 0);
  std::vector<Rows> keys(3);
  std::vector<Rows> values(3);
  for (const auto& fresh : steps) {
    const StepData step(past, fresh);
    const size_t n_tokens = step.positions.size();
    const auto q = random_floats(random, n_tokens * static_cast<size_t>(variant.heads * variant.k_dim));
    const auto k = random_floats(random, n_tokens * static_cast<size_t>(variant.kv_heads * variant.k_dim));
    const auto v = random_floats(random, n_tokens * static_cast<size_t>(variant.kv_heads * variant.v_dim));
    for (size_t t = 0; t < n_tokens; ++t) {
      const auto s = static_cast<size_t>(step.token_sequence[t]);
      keys[s].push_back(row_of(k, t, static_cast<size_t>(variant.kv_heads * variant.k_dim)));
      values[s].push_back(row_of(v, t, static_cast<size_t>(variant.kv_heads * variant.v_dim)));
    }
    Run run(model.graph, step);
    run.bind(state).set(model.q, q).set(model.k, k).set(model.value, v).eval();
    std::vector<double> expected;
    for (size_t t = 0; t < n_tokens; ++t) {
      const auto s = static_cast<size_t>(step.token_sequence[t]);
      const auto row = attend(model, q.data() + t * static_cast<size_t>(variant.heads * variant.k_dim),
                              step.positions[t], keys[s], values[s]);
      expected.insert(expected.end(), row.begin(), row.end());
    }
    CHECK(test::worst_error(run.floats(model.out), expected) < 1e-5);
    for (size_t s = 0; s < 3; ++s) past[s] += fresh[s];
  }
}

TEST_CASE("attention equals a brute-force loop over ragged, paged sequences") {
  check_variant({.name = "grouped heads"});
  check_variant({.name = "one key/value head", .kv_heads = 1});
  check_variant({.name = "as many key/value heads", .kv_heads = 4});
  check_variant({.name = "values of another size", .v_dim = 3});
  check_variant({.name = "not causal", .causal = 0});
  check_variant({.name = "window", .window = 3});
  check_variant({.name = "window of one", .window = 1});
  check_variant({.name = "window, not causal", .causal = 0, .window = 2});
  check_variant({.name = "softcap", .softcap = 1.5F});
  check_variant({.name = "alibi", .alibi = true});
  check_variant({.name = "sinks", .sinks = true});
  check_variant({.name = "chunks", .chunk = 4});
  check_variant({.name = "chunks and window", .window = 2, .sinks = true, .chunk = 5});
  check_variant({.name = "blocks", .block_size = 2, .local_blocks = 2, .vertical_stride = 3, .head_step = 1});
  check_variant(
      {.name = "blocks alike in all heads", .block_size = 3, .local_blocks = 1, .vertical_stride = 2});
  check_variant({.name = "blocks that leave a row nothing but the sink",
                 .sinks = true,
                 .block_size = 2,
                 .local_blocks = 0,
                 .vertical_stride = 7});
  check_variant(
      {.name = "everything", .v_dim = 5, .window = 4, .softcap = 2.0F, .alibi = true, .sinks = true});
}

TEST_CASE("a sequence has the same bits alone, beside others and in chunks") {
  std::mt19937 random(3);
  Model model({.name = "bits", .window = 6, .sinks = true}, random);
  const auto q = random_floats(random, 9 * 32);
  const auto k = random_floats(random, 9 * 16);
  const auto v = random_floats(random, 9 * 16);
  const auto part = [](const std::vector<float>& all, size_t width, size_t begin, size_t end) {
    return std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(begin * width),
                              all.begin() + static_cast<std::ptrdiff_t>(end * width));
  };
  SlotState whole_state(5, 2, 8, 8, 1);
  Run whole(model.graph, StepData({0}, {9}));
  whole.bind(whole_state).set(model.q, q).set(model.k, k).set(model.value, v).eval();

  SlotState chunk_state(5, 2, 8, 8, 3);
  std::vector<float> chunked;
  for (const auto& [begin, end] : std::vector<std::pair<size_t, size_t>>{{0, 4}, {4, 5}, {5, 9}}) {
    const auto fresh = static_cast<int32_t>(end - begin);
    // Before it a sequence of three new tokens, after it one of two.
    const StepData step({0, static_cast<int32_t>(begin), 0}, {3, fresh, 2});
    auto beside = [&](const std::vector<float>& all, size_t width) {
      auto rows = random_floats(random, 3 * width, 3.0F);
      const auto own = part(all, width, begin, end);
      rows.insert(rows.end(), own.begin(), own.end());
      const auto after = random_floats(random, 2 * width, 3.0F);
      rows.insert(rows.end(), after.begin(), after.end());
      return rows;
    };
    Run run(model.graph, step);
    run.bind(chunk_state)
        .set(model.q, beside(q, 32))
        .set(model.k, beside(k, 16))
        .set(model.value, beside(v, 16))
        .eval();
    const auto out = run.floats(model.out);
    chunked.insert(chunked.end(), out.begin() + 3 * 32, out.begin() + (3 + fresh) * 32);
  }
  CHECK(chunked == whole.floats(model.out));
}

TEST_CASE("state errors name the slot and the position") {
  std::mt19937 random(1);
  Model model({.name = "errors"}, random);
  const StepData step({0}, {2});
  CHECK_THROWS_WITH_AS(Run(model.graph, step).eval(), "state_write: no state is bound to slot 5", Error);
  SlotState state(5, 2, 8, 8, 1);
  const StepData far({StepData::kPageTokens * StepData::kPagesPerSequence - 1}, {2});
  CHECK_THROWS_WITH_AS(Run(model.graph, far).bind(state).eval(),
                       "state_write: position 64 of sequence 0 is beyond its 16 pages", Error);
}

}  // namespace
}  // namespace llmhost::graph
