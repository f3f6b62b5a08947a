// ATTENTION against the reference evaluator, and bit for bit against itself in other batches, chunks and
// threads.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <utility>

#include "backend_fixture.h"
#include "graph/decompose.h"
#include "graph/reference.h"

namespace llmhost::test {
namespace {

struct Variant {
  int32_t heads = 4, kv_heads = 2, k_dim = 16, v_dim = 16;
  int32_t window = 0;
  float softcap = 0.0F;
  bool slopes = false, sinks = false, causal = true;
  int32_t page_tokens = 16;
  llmh_dtype dtype = LLMH_DTYPE_F32;
  int32_t chunk = 0;
  int32_t block_size = 0, local_blocks = 0, vertical_stride = 0, head_step = 0;
};

struct AttentionGraph {
  explicit AttentionGraph(const Variant& variant) : v(variant) {
    auto attrs = graph::make_attrs<llmh_attention_attrs>();
    attrs.slot = 1;
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
    q = placeholder(v.heads * v.k_dim);
    k = placeholder(v.kv_heads * v.k_dim);
    values = placeholder(v.kv_heads * v.v_dim);
    const std::vector<llmh_tensor> inputs{q, k, values, per_head("slopes", v.slopes, 11),
                                          per_head("sinks", v.sinks, 12)};
    y = graph.add_node(LLMH_OP_ATTENTION, "a", inputs, &attrs, sizeof attrs)[0];
  }

  llmh_tensor placeholder(int64_t width) {
    return graph.add_placeholder(
        {LLMH_DTYPE_F32, {graph::symbol_dim(LLMH_DIM_TOKENS), graph::constant_dim(width)}});
  }
  llmh_tensor per_head(std::string_view name, bool present, uint32_t seed) {
    if (!present) return LLMH_NO_TENSOR;
    const std::vector<int64_t> shape{v.heads};
    return graph.add_constant(name, LLMH_DTYPE_F32, shape,
                              bytes_of(random_floats(shape[0], seed, 0.0F, 0.5F)));
  }
  std::vector<StateShape> states() const {
    return {{.slot = 1,
             .n_kv_heads = v.kv_heads,
             .k_head_dim = v.k_dim,
             .v_head_dim = v.v_dim,
             .page_tokens = v.page_tokens,
             .dtype = v.dtype}};
  }

  Variant v;
  graph::Graph graph;
  llmh_tensor q = 0, k = 0, values = 0, y = 0;
};

// The rows of one piece: a function of sequence and position alone.
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

std::vector<float> run_pieces(Model& m, const AttentionGraph& g, const std::vector<Piece>& pieces) {
  const StepArrays step(pieces);
  const auto write = [&](llmh_tensor tensor, int64_t width, uint32_t seed) {
    const auto rows = rows_for(pieces, width, seed);
    m.write(tensor, rows.data(), rows.size() * sizeof(float));
  };
  write(g.q, g.v.heads * g.v.k_dim, 100000);
  write(g.k, g.v.kv_heads * g.v.k_dim, 200000);
  write(g.values, g.v.kv_heads * g.v.v_dim, 300000);
  m.run(step);
  return m.read(g.y, step);
}

// Two steps: prompts of three sequences, then more of two of them and one token of the third.
const std::vector<std::vector<Piece>> kSteps = {{{0, 37, 0, 37}, {0, 1, 1, 1}, {0, 21, 2, 21}},
                                                {{37, 1, 0, 37}, {1, 33, 1, 34}, {21, 5, 2, 26}}};

std::vector<Variant> variants() {
  std::vector<Variant> all;
  all.push_back({});
  all.push_back({.heads = 9, .kv_heads = 3, .k_dim = 64, .v_dim = 64, .page_tokens = 32});
  all.push_back({.heads = 7, .kv_heads = 1, .k_dim = 20, .v_dim = 33, .page_tokens = 100});
  all.push_back({.heads = 3, .kv_heads = 3, .k_dim = 5, .v_dim = 3, .window = 1, .page_tokens = 7});
  all.push_back({.window = 9, .softcap = 1.5F, .page_tokens = 8});
  all.push_back({.slopes = true, .page_tokens = 20});
  all.push_back({.window = 12, .slopes = true, .sinks = true});
  all.push_back({.softcap = 3.0F, .sinks = true, .causal = false, .page_tokens = 64});
  all.push_back({.chunk = 16});
  all.push_back({.window = 5, .page_tokens = 7, .chunk = 9});
  all.push_back(
      {.page_tokens = 64, .block_size = 4, .local_blocks = 2, .vertical_stride = 3, .head_step = 1});
  all.push_back({.slopes = true,
                 .page_tokens = 10,
                 .block_size = 7,
                 .local_blocks = 1,
                 .vertical_stride = 4,
                 .head_step = 3});
  all.push_back({.sinks = true, .page_tokens = 8, .block_size = 3, .local_blocks = 0, .vertical_stride = 5});
  return all;
}

}  // namespace

// Scores are sums of k_dim products of size 4 and the softmax is shift-invariant: 2e-5 covers the roundings
// in f32. Keys and values in f16 have a relative error of 2^-11, in bf16 of 2^-8; scores of size 10 move by
// as much times 4. In q8_0 they are off by half a step of 2 / 127, twice what bf16 rounds off.
TEST_CASE("ATTENTION agrees with the reference") {
  Instance reference(*graph::reference_backend());
  for (Variant variant : variants()) {
    for (const auto& [dtype, tolerance] :
         std::initializer_list<std::pair<llmh_dtype, double>>{{LLMH_DTYPE_F32, 2e-5},
                                                              {LLMH_DTYPE_F16, 8e-3},
                                                              {LLMH_DTYPE_BF16, 6e-2},
                                                              {LLMH_DTYPE_Q8_0, 1.2e-1}}) {
      variant.dtype = dtype;
      const AttentionGraph g(variant);
      Model expected(reference, g.graph, {}, g.states());
      std::vector<std::vector<float>> want;
      for (const auto& pieces : kSteps) want.push_back(run_pieces(expected, g, pieces));
      for (const std::string& isa : usable_isas()) {
        CAPTURE(isa);
        CAPTURE(variant.k_dim);
        CAPTURE(variant.page_tokens);
        CAPTURE(dtype);
        Instance instance(cpu_backend(), isa, 2);
        Model m(instance, g.graph, {}, g.states());
        for (size_t s = 0; s < kSteps.size(); ++s) {
          const auto got = run_pieces(m, g, kSteps[s]);
          double worst = 0;
          for (size_t i = 0; i < got.size(); ++i) {
            const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[s][i]));
            worst = std::isnan(error) ? INFINITY : std::max(worst, error);
          }
          CHECK(worst <= tolerance);
        }
      }
    }
  }
}

TEST_CASE("ATTENTION gives a token the same bits whatever the batch, the chunks and the threads") {
  for (const std::string& isa : usable_isas()) {
    for (Variant variant : variants()) {
      if (!variant.causal) continue;  // then a token sees what its chunk brings
      variant.dtype = variant.v_dim % 3 == 0 || variant.chunk > 0 ? LLMH_DTYPE_Q8_0 : LLMH_DTYPE_F16;
      CAPTURE(isa);
      CAPTURE(variant.k_dim);
      CAPTURE(variant.window);
      const AttentionGraph g(variant);
      const auto width = static_cast<size_t>(variant.heads * variant.v_dim);
      Instance alone(cpu_backend(), isa);
      Model whole(alone, g.graph, {}, g.states());
      const auto first = run_pieces(whole, g, {{0, 70, 0, 70}});
      const auto second = run_pieces(whole, g, {{0, 50, 1, 50}});
      Instance threaded(cpu_backend(), isa, 3);
      for (const int32_t chunk : {1, 3, 17}) {
        Model m(threaded, g.graph, {}, g.states());
        for (int32_t begin = 0; begin < 70; begin += chunk) {
          const int32_t count = std::min(chunk, 70 - begin);
          std::vector<Piece> pieces{{begin, count, 0, 70}};
          if (begin + count <= 50) pieces.push_back({begin, count, 1, 50});
          const auto both = run_pieces(m, g, pieces);
          const auto bytes = static_cast<size_t>(count) * width * sizeof(float);
          const size_t at = static_cast<size_t>(begin) * width;
          CHECK(std::memcmp(both.data(), first.data() + at, bytes) == 0);
          if (pieces.size() == 2)
            CHECK(std::memcmp(both.data() + static_cast<size_t>(count) * width, second.data() + at, bytes) ==
                  0);
        }
      }
    }
  }
}

// Contexts of several chunks, which are split over threads where one sequence is most of the work.
TEST_CASE("ATTENTION over a long context gives the same bits however it is split") {
  for (const std::string& isa : usable_isas()) {
    for (const llmh_dtype dtype : {LLMH_DTYPE_F32, LLMH_DTYPE_F16, LLMH_DTYPE_BF16, LLMH_DTYPE_Q8_0}) {
      CAPTURE(isa);
      CAPTURE(dtype);
      const AttentionGraph g(
          {.heads = 6, .kv_heads = 2, .k_dim = 32, .v_dim = 48, .page_tokens = 100, .dtype = dtype});
      const size_t width = 6 * 48;
      Instance alone(cpu_backend(), isa);
      Model whole(alone, g.graph, {}, g.states());
      std::vector<float> want;
      for (const auto& [begin, count] :
           std::initializer_list<std::pair<int32_t, int32_t>>{{0, 600}, {600, 600}, {1200, 140}}) {
        const auto rows = run_pieces(whole, g, {{begin, count, 0, 1340}});
        want.insert(want.end(), rows.begin(), rows.end());
      }
      const auto second = run_pieces(whole, g, {{0, 50, 1, 50}});
      for (const int32_t threads : {1, 2, 3, 4}) {
        CAPTURE(threads);
        Instance instance(cpu_backend(), isa, threads);
        Model m(instance, g.graph, {}, g.states());
        const auto check = [&](const std::vector<Piece>& pieces) {
          const auto got = run_pieces(m, g, pieces);
          const Piece& first = pieces.front();
          const auto count = static_cast<size_t>(first.count) * width;
          CHECK(std::memcmp(got.data(), want.data() + static_cast<size_t>(first.begin) * width,
                            count * sizeof(float)) == 0);
          if (pieces.size() > 1)
            CHECK(std::memcmp(got.data() + count,
                              second.data() + static_cast<size_t>(pieces[1].begin) * width,
                              static_cast<size_t>(pieces[1].count) * width * sizeof(float)) == 0);
        };
        check({{0, 255, 0, 1340}, {0, 49, 1, 50}});
        check({{255, 500, 0, 1340}});
        check({{755, 545, 0, 1340}});
        for (int32_t position = 1300; position < 1310; ++position) check({{position, 1, 0, 1340}});
        check({{1310, 1, 0, 1340}, {49, 1, 1, 50}});
        check({{1311, 7, 0, 1340}});
        check({{1318, 22, 0, 1340}});
      }
    }
  }
}

TEST_CASE("ATTENTION token by token from the first gives the bits of the prompt in one step") {
  const AttentionGraph g(
      {.heads = 3, .kv_heads = 1, .k_dim = 16, .v_dim = 16, .page_tokens = 96, .dtype = LLMH_DTYPE_F16});
  const size_t width = 3 * 16;
  Instance alone(cpu_backend());
  Model whole(alone, g.graph, {}, g.states());
  std::vector<float> want;
  for (int32_t begin = 0; begin < 1400; begin += 500) {
    const auto rows = run_pieces(whole, g, {{begin, std::min(500, 1400 - begin), 0, 1400}});
    want.insert(want.end(), rows.begin(), rows.end());
  }
  Instance instance(cpu_backend(), {}, 3);
  Model m(instance, g.graph, {}, g.states());
  bool is_same = true;
  for (int32_t position = 0; position < 1400; ++position) {
    const auto got = run_pieces(m, g, {{position, 1, 0, 1400}});
    is_same &= std::memcmp(got.data(), want.data() + static_cast<size_t>(position) * width,
                           width * sizeof(float)) == 0;
  }
  CHECK(is_same);
}

TEST_CASE("ATTENTION refuses a page that is not there, and needs none behind the window") {
  const AttentionGraph g({.window = 4, .page_tokens = 8});
  Instance instance(cpu_backend());
  Model m(instance, g.graph, {}, g.states());
  run_pieces(m, g, {{0, 30, 0, 30}});
  StepArrays step({{30, 1, 0, 30}});
  step.page_table[0] = -1;  // positions 0 to 7: given back
  CHECK(m.try_run(step) == LLMH_OK);
  step.page_table[3] = -1;
  std::string message;
  CHECK(m.try_run(step, &message) == LLMH_OUT_OF_RANGE);
  CHECK(message.find("entry 3") != std::string::npos);
}

TEST_CASE("ATTENTION needs no page behind the chunk") {
  const AttentionGraph g({.page_tokens = 8, .chunk = 16});
  Instance instance(cpu_backend());
  Model m(instance, g.graph, {}, g.states());
  run_pieces(m, g, {{0, 30, 0, 30}});
  StepArrays step({{30, 1, 0, 30}});
  step.page_table[0] = step.page_table[1] = -1;  // positions 0 to 15
  CHECK(m.try_run(step) == LLMH_OK);
  step.page_table[2] = -1;
  CHECK(m.try_run(step) == LLMH_OUT_OF_RANGE);
}

// What the decomposition of ATTENTION is made of; the evaluator has its own layout of the state, so that the
// result is compared and not the state.
TEST_CASE("ATTENTION decomposed runs on the backend and gives what the kernel gives") {
  for (Variant variant : variants()) {
    CAPTURE(variant.chunk);
    CAPTURE(variant.block_size);
    // STATE_READ gives what the kernel decodes, to the bit.
    variant.dtype = variant.window > 0 || variant.k_dim == 20 ? LLMH_DTYPE_Q8_0 : LLMH_DTYPE_F32;
    AttentionGraph g(variant);
    g.graph.set_name(g.q, "q");
    g.graph.set_name(g.k, "k");
    g.graph.set_name(g.values, "v");
    g.graph.set_name(g.y, "y");
    AttentionGraph parts(variant);
    parts.graph = graph::decompose(g.graph, [](const graph::Graph&, uint32_t) { return false; });
    parts.q = parts.graph.find("q");
    parts.k = parts.graph.find("k");
    parts.values = parts.graph.find("v");
    parts.y = parts.graph.find("y");
    Instance instance(cpu_backend(), {}, 2);
    Model whole(instance, g.graph, {}, g.states());
    Model decomposed(instance, parts.graph, {}, g.states());
    const std::vector<Piece> pieces{{0, 37, 0, 37}};
    const auto want = run_pieces(whole, g, pieces);
    const auto got = run_pieces(decomposed, parts, pieces);
    double worst = 0;
    for (size_t i = 0; i < got.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i])));
    CHECK(worst <= 2e-5);  // as against the reference
  }
}

}  // namespace llmhost::test
