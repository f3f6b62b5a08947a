// ATTENTION_TRAIN and ATTENTION_GRAD against the formula in double, and bit for bit against themselves beside
// other sequences and on other numbers of threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "backend_fixture.h"

namespace llmhost::test {
namespace {

struct Variant {
  int32_t heads = 4, kv_heads = 2, k_dim = 16, v_dim = 16;
  int32_t window = 0, chunk = 0;
  float softcap = 0.0F;
  bool slopes = false, sinks = false, causal = true;
  int32_t block_size = 0, local_blocks = 0, vertical_stride = 0, head_step = 0;
  float top_k_ratio = 0.0F;
};

std::vector<Variant> variants() {
  std::vector<Variant> all;
  all.push_back({});
  all.push_back({.heads = 9, .kv_heads = 3, .k_dim = 64, .v_dim = 64});
  all.push_back({.heads = 7, .kv_heads = 1, .k_dim = 20, .v_dim = 33});
  all.push_back({.heads = 3, .kv_heads = 3, .k_dim = 5, .v_dim = 3, .window = 1});
  all.push_back({.window = 9, .softcap = 1.5F});
  all.push_back({.heads = 8, .kv_heads = 8, .k_dim = 80, .v_dim = 48, .slopes = true});
  all.push_back({.window = 12, .slopes = true, .sinks = true});
  all.push_back({.softcap = 3.0F, .sinks = true, .causal = false});
  all.push_back({.chunk = 16});
  all.push_back({.heads = 2, .kv_heads = 1, .window = 70, .chunk = 90});
  all.push_back({.block_size = 4, .local_blocks = 2, .vertical_stride = 3, .head_step = 1});
  all.push_back({.slopes = true, .block_size = 7, .local_blocks = 1, .vertical_stride = 4, .head_step = 3});
  all.push_back({.sinks = true, .block_size = 3, .local_blocks = 0, .vertical_stride = 5});
  all.push_back({.block_size = 3, .local_blocks = 0, .vertical_stride = 50});  // most rows see nothing
  all.push_back({.top_k_ratio = 0.3F});
  all.push_back({.window = 20, .softcap = 2.0F, .slopes = true, .sinks = true, .top_k_ratio = 0.5F});
  all.push_back({.causal = false,
                 .block_size = 4,
                 .local_blocks = 2,
                 .vertical_stride = 3,
                 .head_step = 1,
                 .top_k_ratio = 0.7F});
  return all;
}

struct TrainGraph {
  explicit TrainGraph(const Variant& variant) : v(variant) {
    auto attrs = graph::make_attrs<llmh_attention_attrs>();
    attrs.n_heads = v.heads;
    attrs.n_kv_heads = v.kv_heads;
    attrs.k_head_dim = v.k_dim;
    attrs.v_head_dim = v.v_dim;
    attrs.scale = 1.0F / std::sqrt(static_cast<float>(v.k_dim));
    attrs.softcap = v.softcap;
    attrs.causal = v.causal ? 1 : 0;
    attrs.window = v.window;
    attrs.chunk = v.chunk;
    attrs.block_size = v.block_size;
    attrs.local_blocks = v.local_blocks;
    attrs.vertical_stride = v.vertical_stride;
    attrs.head_step = v.head_step;
    attrs.top_k_ratio = v.top_k_ratio;
    scale = attrs.scale;
    q = placeholder(v.heads * v.k_dim);
    k = placeholder(v.kv_heads * v.k_dim);
    values = placeholder(v.kv_heads * v.v_dim);
    dout = placeholder(v.heads * v.v_dim);
    slope_values = random_floats(static_cast<size_t>(v.heads), 11, 0.0F, 0.5F);
    sink_values = random_floats(static_cast<size_t>(v.heads), 12, -1.0F, 2.0F);
    std::vector<llmh_tensor> inputs{q, k, values, per_head("slopes", v.slopes, slope_values),
                                    per_head("sinks", v.sinks, sink_values)};
    const auto forward = graph.add_node(LLMH_OP_ATTENTION_TRAIN, "a", inputs, &attrs, sizeof attrs);
    inputs.insert(inputs.end(), {forward[0], forward[1], dout});
    const auto grads = graph.add_node(LLMH_OP_ATTENTION_GRAD, "a", inputs, &attrs, sizeof attrs);
    outputs = {forward[0], forward[1], grads[0], grads[1], grads[2], grads[3]};
  }

  llmh_tensor placeholder(int64_t width) {
    return graph.add_placeholder(
        {LLMH_DTYPE_F32, {graph::symbol_dim(LLMH_DIM_TOKENS), graph::constant_dim(width)}});
  }
  llmh_tensor per_head(std::string_view name, bool present, const std::vector<float>& data) {
    if (!present) return LLMH_NO_TENSOR;
    const std::vector<int64_t> shape{v.heads};
    return graph.add_constant(name, LLMH_DTYPE_F32, shape, bytes_of(data));
  }

  Variant v;
  float scale = 0;
  graph::Graph graph;
  llmh_tensor q = 0, k = 0, values = 0, dout = 0;
  std::vector<float> slope_values, sink_values;
  std::vector<llmh_tensor> outputs;
};

// out, lse, dq, dk, dv, dsinks.
using Results = std::vector<std::vector<float>>;

// A row of a sequence is a function of sequence and position alone.
std::vector<float> rows_for(const std::vector<Piece>& pieces, int64_t width, uint32_t seed) {
  std::vector<float> result;
  for (const Piece& piece : pieces)
    for (int32_t i = 0; i < piece.count; ++i) {
      const auto row =
          random_floats(static_cast<size_t>(width),
                        seed + static_cast<uint32_t>(piece.sequence * 1000 + piece.begin + i), -2.0F, 2.0F);
      result.insert(result.end(), row.begin(), row.end());
    }
  return result;
}

struct Inputs {
  Inputs(const TrainGraph& g, const std::vector<Piece>& pieces)
      : q(rows_for(pieces, g.v.heads * g.v.k_dim, 100000)),
        k(rows_for(pieces, g.v.kv_heads * g.v.k_dim, 200000)),
        values(rows_for(pieces, g.v.kv_heads * g.v.v_dim, 300000)),
        dout(rows_for(pieces, g.v.heads * g.v.v_dim, 400000)) {}
  std::vector<float> q, k, values, dout;
};

Results run_pieces(Model& m, const TrainGraph& g, const std::vector<Piece>& pieces) {
  const StepArrays step(pieces);
  const Inputs in(g, pieces);
  m.write(g.q, in.q.data(), in.q.size() * sizeof(float));
  m.write(g.k, in.k.data(), in.k.size() * sizeof(float));
  m.write(g.values, in.values.data(), in.values.size() * sizeof(float));
  m.write(g.dout, in.dout.data(), in.dout.size() * sizeof(float));
  m.run(step);
  Results results;
  for (const llmh_tensor tensor : g.outputs) results.push_back(m.read(tensor, step));
  return results;
}

// --- The formula

bool is_visible(const Variant& v, int64_t query, int64_t key, int64_t head) {
  if (v.causal && key > query) return false;
  if (v.window != 0 && key <= query - v.window) return false;
  if (v.chunk != 0 && key < query / v.chunk * v.chunk) return false;
  if (v.block_size == 0) return true;
  const int64_t block = key / v.block_size;
  return query / v.block_size - block < v.local_blocks ||
         (block + head * v.head_step + 1) % v.vertical_stride == 0;
}

struct Expected {
  const TrainGraph& g;
  const Inputs& in;
  std::vector<std::vector<double>> results;

  Expected(const TrainGraph& graph, const Inputs& inputs, const std::vector<Piece>& pieces)
      : g(graph), in(inputs), results(6) {
    int64_t tokens = 0;
    for (const Piece& piece : pieces) tokens += piece.count;
    const Variant& v = g.v;
    const int64_t widths[] = {v.heads * v.v_dim, v.heads, v.heads * v.k_dim, v.kv_heads * v.k_dim,
                              v.kv_heads * v.v_dim};
    for (size_t i = 0; i < 5; ++i) results[i].resize(static_cast<size_t>(tokens * widths[i]));
    results[5].resize(static_cast<size_t>(v.heads));
    int64_t first = 0;
    for (const Piece& piece : pieces) {
      for (int64_t head = 0; head < v.heads; ++head)
        for (int64_t i = 0; i < piece.count; ++i) row(piece, first, i, head);
      first += piece.count;
    }
  }

  double& at(size_t result, int64_t token, int64_t width, int64_t i) {
    return results[result][static_cast<size_t>(token * width + i)];
  }

  void keep_largest(std::vector<double>& scores) const {
    std::vector<size_t> order;
    for (size_t j = 0; j < scores.size(); ++j)
      if (scores[j] != -INFINITY) order.push_back(j);
    const auto kept =
        static_cast<size_t>(llmh_top_k_kept(g.v.top_k_ratio, static_cast<int64_t>(order.size())));
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    for (size_t j = kept; j < order.size(); ++j) scores[order[j]] = -INFINITY;
  }

  // One query of one head.
  void row(const Piece& piece, int64_t first, int64_t i, int64_t head) {
    const Variant& v = g.v;
    const int64_t kv = head / (v.heads / v.kv_heads);
    const auto f = [](const std::vector<float>& data, int64_t token, int64_t width, int64_t element) {
      return static_cast<double>(data[static_cast<size_t>(token * width + element)]);
    };
    const auto n = static_cast<size_t>(piece.count);
    std::vector<double> scores(n, -INFINITY), slopes(n, 1.0), weights(n, 0.0);
    for (size_t j = 0; j < n; ++j) {
      const auto key = static_cast<int64_t>(j);
      if (!is_visible(v, piece.begin + i, piece.begin + key, head)) continue;
      double s = 0;
      for (int64_t e = 0; e < v.k_dim; ++e)
        s += f(in.q, first + i, v.heads * v.k_dim, head * v.k_dim + e) *
             f(in.k, first + key, v.kv_heads * v.k_dim, kv * v.k_dim + e);
      s *= static_cast<double>(g.scale);
      if (v.softcap > 0) {
        const double t = std::tanh(s / static_cast<double>(v.softcap));
        s = static_cast<double>(v.softcap) * t;
        slopes[j] = 1 - t * t;
      }
      if (v.slopes)
        s += static_cast<double>(g.slope_values[static_cast<size_t>(head)]) * static_cast<double>(key - i);
      scores[j] = s;
    }
    if (v.top_k_ratio > 0) keep_largest(scores);
    const double sink = v.sinks ? static_cast<double>(g.sink_values[static_cast<size_t>(head)]) : -INFINITY;
    const double highest = std::max(sink, *std::max_element(scores.begin(), scores.end()));
    if (highest == -INFINITY) {
      at(1, first + i, v.heads, head) = -INFINITY;
      return;
    }
    double total = std::exp(sink - highest);
    for (const double s : scores) total += std::exp(s - highest);
    at(1, first + i, v.heads, head) = highest + std::log(total);
    std::vector<double> dweights(n, 0.0);
    double delta = 0;
    for (size_t j = 0; j < n; ++j) {
      weights[j] = std::exp(scores[j] - highest) / total;
      for (int64_t e = 0; e < v.v_dim; ++e) {
        const double value =
            f(in.values, first + static_cast<int64_t>(j), v.kv_heads * v.v_dim, kv * v.v_dim + e);
        const double dout = f(in.dout, first + i, v.heads * v.v_dim, head * v.v_dim + e);
        at(0, first + i, v.heads * v.v_dim, head * v.v_dim + e) += weights[j] * value;
        at(4, first + static_cast<int64_t>(j), v.kv_heads * v.v_dim, kv * v.v_dim + e) += weights[j] * dout;
        dweights[j] += dout * value;
      }
      delta += weights[j] * dweights[j];
    }
    for (size_t j = 0; j < n; ++j) {
      const double ds = weights[j] * (dweights[j] - delta) * slopes[j] * static_cast<double>(g.scale);
      const auto key = first + static_cast<int64_t>(j);
      for (int64_t e = 0; e < v.k_dim; ++e) {
        at(2, first + i, v.heads * v.k_dim, head * v.k_dim + e) +=
            ds * f(in.k, key, v.kv_heads * v.k_dim, kv * v.k_dim + e);
        at(3, key, v.kv_heads * v.k_dim, kv * v.k_dim + e) +=
            ds * f(in.q, first + i, v.heads * v.k_dim, head * v.k_dim + e);
      }
    }
    if (v.sinks) results[5][static_cast<size_t>(head)] -= std::exp(sink - highest) / total * delta;
  }
};

double worst_error(const std::vector<float>& got, const std::vector<double>& want) {
  REQUIRE(got.size() == want.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (static_cast<double>(got[i]) == want[i]) continue;  // infinities, too
    const double error = std::abs(static_cast<double>(got[i]) - want[i]) / (1 + std::abs(want[i]));
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

// Sequences of odd lengths, an empty one, and one that does not begin at 0.
const std::vector<Piece> kPieces = {{0, 71, 0, 71}, {0, 0, 1, 0}, {0, 1, 2, 1}, {5, 130, 3, 135}};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

// Scores are sums of k_dim products of size up to 4 and about 10 in size, so that weights are off by 1e-6 of
// themselves; gradients sum some hundred such terms of size up to 20.
TEST_CASE("ATTENTION_TRAIN and ATTENTION_GRAD agree with the formula") {
  for (const Variant& variant : variants()) {
    const TrainGraph g(variant);
    const Inputs in(g, kPieces);
    const Expected expected(g, in, kPieces);
    for (const std::string& isa : usable_isas()) {
      CAPTURE(isa);
      CAPTURE(variant.k_dim);
      CAPTURE(variant.window);
      CAPTURE(variant.block_size);
      CAPTURE(variant.top_k_ratio);
      Instance instance(cpu_backend(), isa, 2);
      Model m(instance, g.graph, {});
      const Results got = run_pieces(m, g, kPieces);
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK(worst_error(got[i], expected.results[i]) <= 3e-5);
      }
    }
  }
}

TEST_CASE("ATTENTION_GRAD of a long sequence is cut into pieces") {
  for (const Variant& variant :
       {Variant{.heads = 3, .kv_heads = 1, .k_dim = 24, .v_dim = 16},
        Variant{.heads = 2, .kv_heads = 2, .window = 40},
        Variant{.heads = 2, .kv_heads = 1, .k_dim = 8, .v_dim = 8, .sinks = true, .causal = false}}) {
    const TrainGraph g(variant);
    const std::vector<Piece> pieces{{0, 597, 0, 597}};
    const Inputs in(g, pieces);
    const Expected expected(g, in, pieces);
    Instance instance(cpu_backend(), {}, 2);
    Model m(instance, g.graph, {});
    const Results got = run_pieces(m, g, pieces);
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(variant.window);
      CAPTURE(i);
      CHECK(worst_error(got[i], expected.results[i]) <= 3e-5);
    }
    for (const int32_t threads : {0, 1, 3}) {
      Instance other(cpu_backend(), {}, threads);
      Model again(other, g.graph, {});
      const Results same = run_pieces(again, g, pieces);
      for (size_t i = 0; i < got.size(); ++i) CHECK(same_bits(got[i], same[i]));
    }
  }
}

TEST_CASE("attention in training gives a sequence the same bits whatever is beside it") {
  for (const Variant& variant : variants()) {
    const TrainGraph g(variant);
    Instance one(cpu_backend());
    Instance three(cpu_backend(), {}, 3);
    Model alone(one, g.graph, {});
    Model beside(three, g.graph, {});
    const Results all = run_pieces(beside, g, kPieces);
    int64_t first = 0;
    for (const Piece& piece : kPieces) {
      const Results own = run_pieces(alone, g, {piece});
      for (size_t i = 0; i < 5; ++i) {  // sinks sum over all sequences
        const size_t width = all[i].size() / (71 + 1 + 130);
        REQUIRE(own[i].size() == width * static_cast<size_t>(piece.count));
        CHECK(std::memcmp(own[i].data(), all[i].data() + static_cast<size_t>(first) * width,
                          own[i].size() * sizeof(float)) == 0);
      }
      first += piece.count;
    }
  }
}

}  // namespace llmhost::test
