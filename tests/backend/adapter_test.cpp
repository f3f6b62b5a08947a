// Sites of adapters on every instruction set: against the host's reference, and bit for bit the same however
// rows are batched, cut, and divided over threads.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "backend_fixture.h"
#include "engine/count_allocations.h"
#include "graph/reference.h"
#include "plugin/status.h"

namespace llmhost::test {
namespace {

constexpr int64_t kVocabulary = 29;
constexpr int64_t kWidth = 96;
constexpr int64_t kInner = 61;  // no whole vectors, no whole units
constexpr int64_t kHead = 150;

struct SiteShape {
  int32_t kind;
  int64_t in, out;
};

// Embedding, a norm, three linears of one input (one of them no site), a layer norm, an added norm, and a
// head on the output rows. Site i of the list is number i + 1.
struct SiteGraph {
  explicit SiteGraph(bool with_sites, llmh_dtype dtype = LLMH_DTYPE_F32)
      : with_sites_(with_sites), dtype_(dtype) {
    const llmh_tensor ids = graph.add_input(LLMH_INPUT_TOKEN_IDS);
    const llmh_tensor table = weight({kVocabulary, kWidth}, LLMH_DTYPE_F32);
    x = site(LLMH_OP_EMBEDDING, LLMH_OP_LORA_EMBEDDING, {table, ids},
             {LLMH_MODULE_EMBEDDING, kVocabulary, kWidth});
    n1 = norm(LLMH_OP_RMS_NORM, {x, vector(kWidth)})[0];
    q = linear(n1, kInner, true);
    k = linear(n1, kWidth, false);
    const std::vector<llmh_tensor> plain{n1, weight({kWidth, kWidth}, dtype_)};
    v = graph.add_node(LLMH_OP_LINEAR, "v", plain)[0];
    n2 = norm(LLMH_OP_LAYER_NORM, {k, vector(kWidth), vector(kWidth)})[0];
    const auto sums = norm(LLMH_OP_ADD_RMS_NORM, {n2, v, vector(kWidth)});
    sum = sums[0];
    o = linear(sums[1], kWidth, false);
    const std::vector<llmh_tensor> rows_of{o, graph.add_input(LLMH_INPUT_OUTPUT_ROWS)};
    const llmh_tensor rows = graph.add_node(LLMH_OP_GATHER, "rows", rows_of)[0];
    n3 = norm(LLMH_OP_RMS_NORM, {rows, vector(kWidth)})[0];
    head = linear(n3, kHead, true);
  }
  graph::Graph graph;
  Model::Weights weights;
  std::vector<SiteShape> sites;
  llmh_tensor x = 0, n1 = 0, q = 0, k = 0, v = 0, n2 = 0, sum = 0, o = 0, n3 = 0, head = 0;

  std::vector<llmh_tensor> results() const { return {x, n1, q, k, v, n2, sum, o, n3, head}; }

 private:
  llmh_tensor weight(std::vector<int64_t> shape, llmh_dtype dtype) {
    const std::string name = "w" + std::to_string(weights.size());
    const llmh_tensor tensor = graph.add_weight(name, dtype, shape);
    const int64_t rows = shape.size() == 2 ? shape[0] : 1;
    weights[tensor] = random_blocks(dtype, rows, shape.back(), static_cast<uint32_t>(weights.size()));
    return tensor;
  }
  llmh_tensor vector(int64_t n) { return weight({n}, LLMH_DTYPE_F32); }

  llmh_tensor site(llmh_op plain, llmh_op sited, const std::vector<llmh_tensor>& inputs, SiteShape shape) {
    sites.push_back(shape);
    if (!with_sites_) return graph.add_node(plain, "m", inputs)[0];
    auto attrs = graph::make_attrs<llmh_site_attrs>();
    attrs.adapter_site = static_cast<int32_t>(sites.size());
    return graph.add_node(sited, "m", inputs, &attrs, sizeof attrs)[0];
  }
  llmh_tensor linear(llmh_tensor input, int64_t n, bool biased) {
    std::vector<llmh_tensor> inputs{input, weight({n, kWidth}, dtype_)};
    if (biased) inputs.push_back(vector(n));
    return site(LLMH_OP_LINEAR, LLMH_OP_LORA_LINEAR, inputs, {LLMH_MODULE_LINEAR, kWidth, n});
  }
  std::vector<llmh_tensor> norm(llmh_op op, const std::vector<llmh_tensor>& inputs) {
    sites.push_back({LLMH_MODULE_NORM, kWidth, kWidth});
    auto attrs = graph::make_attrs<llmh_norm_attrs>();
    attrs.eps = 1e-5F;
    attrs.weight_offset = 0.25F;
    if (with_sites_) attrs.adapter_site = static_cast<int32_t>(sites.size());
    return graph.add_node(op, "n", inputs, &attrs, sizeof attrs);
  }

  bool with_sites_;
  llmh_dtype dtype_;
};

// Deltas for some of the sites; `flavour` says which fields they have.
struct Deltas {
  Deltas(const std::vector<SiteShape>& sites, uint32_t flavour) {
    constexpr int32_t kRanks[] = {16, 1, 8, 64, 3, 33, 2, 17};
    std::mt19937 random(flavour + 100);
    for (size_t i = 0; i < sites.size(); ++i) {
      if (flavour != 0 && random() % 5 == 0) continue;
      llmh_site_delta delta{};
      delta.struct_size = sizeof delta;
      delta.site = static_cast<int32_t>(i) + 1;
      delta.kind = sites[i].kind;
      delta.in_features = sites[i].in;
      delta.out_features = sites[i].out;
      delta.scale = 0.25F + static_cast<float>(flavour);
      const bool is_norm = delta.kind == LLMH_MODULE_NORM;
      if (!is_norm && random() % 6 != 0) {
        delta.rank = kRanks[(flavour + i) % std::size(kRanks)];
        delta.a = data(delta.rank * delta.in_features, 0.2F);
        delta.b = data(delta.rank * delta.out_features, 0.2F);
      }
      if (delta.kind == LLMH_MODULE_LINEAR && flavour % 2 == 1) {
        if (random() % 2 == 0) delta.b_bias = data(delta.out_features, 1);
        if (random() % 2 == 0) delta.row_scale = data(delta.out_features, 2);
        if (random() % 2 == 0) delta.bias = data(delta.out_features, 1);
      }
      if (is_norm || (flavour >= 2 && random() % 2 == 0))
        delta.weight = data(is_norm ? delta.out_features : delta.in_features * delta.out_features, 0.5F);
      if (i == 4) delta.bias = data(delta.out_features, 1);
      list.push_back(delta);
    }
  }
  Deltas(const Deltas&) = delete;
  Deltas& operator=(const Deltas&) = delete;
  const float* data(int64_t count, float size) {
    owned.push_back(
        random_floats(static_cast<size_t>(count), static_cast<uint32_t>(owned.size()) + 7, -size, size));
    return owned.back().data();
  }
  std::vector<llmh_site_delta> list;
  std::vector<std::vector<float>> owned;
};

const llmh_adapters& adapters_of(const llmh_backend& backend) {
  return *static_cast<const llmh_adapters*>(backend.get_extension(LLMH_STR(LLMH_ADAPTERS_EXTENSION)));
}

class Adapter {
 public:
  Adapter(Instance& instance, const std::vector<llmh_site_delta>& deltas) : instance_(instance) {
    std::vector<const llmh_site_delta*> pointers;
    for (const llmh_site_delta& delta : deltas) pointers.push_back(&delta);
    plugin::check(adapters_of(instance.backend)
                      .prepare_adapter(instance.handle, pointers.data(),
                                       static_cast<uint32_t>(pointers.size()), &handle));
  }
  ~Adapter() { adapters_of(instance_.backend).release_adapter(instance_.handle, handle); }
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;
  llmh_adapter* handle = nullptr;

 private:
  Instance& instance_;
};

// A sequence of the test: its tokens, and which adapter it has (-1: the base).
struct Part {
  int32_t first_id;
  int32_t count;
  int32_t adapter;
};

// The step of some parts, with its segments.
struct AdapterStep {
  AdapterStep(const std::vector<Part>& parts, const std::vector<const llmh_adapter*>& adapters)
      : arrays(pieces_of(parts), ids_of(parts)) {
    tokens.resize(adapters.size());
    outputs.resize(adapters.size());
    int32_t token = 0;
    for (size_t s = 0; s < parts.size(); ++s) {
      const auto a = static_cast<size_t>(parts[s].adapter);
      for (int32_t i = 0; i < parts[s].count; ++i, ++token)
        if (parts[s].adapter >= 0) tokens[a].push_back(token);
      if (parts[s].adapter >= 0) outputs[a].push_back(static_cast<int32_t>(s));
    }
    for (size_t a = 0; a < adapters.size(); ++a)
      segments.push_back({adapters[a], tokens[a].data(), outputs[a].data(),
                          static_cast<int32_t>(tokens[a].size()), static_cast<int32_t>(outputs[a].size())});
    arrays.step.adapter_segments = segments.data();
    arrays.step.n_adapter_segments = static_cast<int32_t>(segments.size());
  }
  static std::vector<Piece> pieces_of(const std::vector<Part>& parts) {
    std::vector<Piece> pieces;
    for (size_t s = 0; s < parts.size(); ++s)
      pieces.push_back({0, parts[s].count, static_cast<int32_t>(s), 0});
    return pieces;
  }
  static std::vector<int32_t> ids_of(const std::vector<Part>& parts) {
    std::vector<int32_t> ids;
    for (const Part& part : parts)
      for (int32_t i = 0; i < part.count; ++i) ids.push_back((part.first_id + 5 * i) % int32_t{kVocabulary});
    return ids;
  }
  StepArrays arrays;
  std::vector<std::vector<int32_t>> tokens, outputs;
  std::vector<llmh_adapter_segment> segments;
};

// One backend with the graph and adapters of all flavours.
class Setup {
 public:
  Setup(const llmh_backend& backend, const SiteGraph& graph, std::string_view isa = {}, int32_t threads = 0,
        uint32_t precision = LLMH_PRECISION_F32)
      : graph_(graph),
        instance(backend, isa, threads, precision),
        model_(instance, graph.graph, graph.weights) {
    for (uint32_t flavour = 0; flavour < 4; ++flavour) {
      adapters_.push_back(std::make_unique<Adapter>(instance, Deltas(graph.sites, flavour).list));
      handles.push_back(adapters_.back()->handle);
    }
  }
  // All results, one after another.
  std::vector<std::vector<float>> run(const std::vector<Part>& parts) {
    const AdapterStep step(parts, handles);
    model_.run(step.arrays);
    std::vector<std::vector<float>> results;
    for (const llmh_tensor tensor : graph_.results()) results.push_back(model_.read(tensor, step.arrays));
    return results;
  }
  Model& model() { return model_; }

 private:
  const SiteGraph& graph_;

 public:
  Instance instance;
  std::vector<const llmh_adapter*> handles;

 private:
  Model model_;
  std::vector<std::unique_ptr<Adapter>> adapters_;
};

const std::vector<Part> kMixed = {{0, 9, 0}, {3, 1, -1}, {7, 5, 3}, {1, 12, 1}};
const std::vector<Part> kOthers = {{2, 1, 2}, {4, 1, 0}, {6, 30, 2}, {8, 1, -1}};

// Rows of the results that belong to part `index`, of all results; the last two have a row for each part.
std::vector<std::vector<float>> rows_of(const std::vector<std::vector<float>>& results,
                                        const std::vector<Part>& parts, size_t index) {
  size_t before = 0;
  size_t all = 0;
  for (size_t s = 0; s < parts.size(); ++s) {
    if (s < index) before += static_cast<size_t>(parts[s].count);
    all += static_cast<size_t>(parts[s].count);
  }
  std::vector<std::vector<float>> rows;
  for (size_t r = 0; r < results.size(); ++r) {
    const bool of_outputs = r + 2 >= results.size();
    const size_t width = results[r].size() / (of_outputs ? parts.size() : all);
    const size_t begin = (of_outputs ? index : before) * width;
    const size_t count = (of_outputs ? 1 : static_cast<size_t>(parts[index].count)) * width;
    const auto first = results[r].begin() + static_cast<std::ptrdiff_t>(begin);
    rows.emplace_back(first, first + static_cast<std::ptrdiff_t>(count));
  }
  return rows;
}

double worst_of(const std::vector<float>& actual, const std::vector<float>& expected) {
  REQUIRE(actual.size() == expected.size());
  double size = 1;
  for (const float value : expected) size = std::max(size, static_cast<double>(std::abs(value)));
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (!(error <= 1e30)) return 1e30;
    worst = std::max(worst, error);
  }
  return worst / size;
}

}  // namespace

TEST_CASE("adapters of every kind and rank against the reference, on every instruction set") {
  const SiteGraph graph(true);
  Setup reference(*graph::reference_backend(), graph);
  for (const auto& parts : {kMixed, kOthers}) {
    const auto expected = reference.run(parts);
    for (const std::string& isa : usable_isas()) {
      CAPTURE(isa);
      Setup cpu(cpu_backend(), graph, isa, 2);
      const auto actual = cpu.run(parts);
      // f32 sums of about 100 terms, through five layers of norms: a relative 1e-5 of the largest value.
      for (size_t r = 0; r < expected.size(); ++r) {
        CAPTURE(r);
        CHECK(worst_of(actual[r], expected[r]) < 1e-5);
      }
    }
  }
}

TEST_CASE("16-bit adapters of exact values are exact, and others are near") {
  const SiteGraph graph(true);
  for (const std::string& isa : usable_isas()) {
    CAPTURE(isa);
    Setup exact(cpu_backend(), graph, isa, 2);
    Setup native(cpu_backend(), graph, isa, 2, LLMH_PRECISION_NATIVE);
    const auto expected = exact.run(kMixed);
    const auto actual = native.run(kMixed);
    for (size_t r = 0; r < expected.size(); ++r) CHECK(worst_of(actual[r], expected[r]) < 5e-3);

    Deltas a(graph.sites, 1);
    Deltas b(graph.sites, 2);
    for (Deltas* const deltas : {&a, &b})
      for (std::vector<float>& values : deltas->owned)
        for (float& value : values) value = std::round(value * 64) / 64;  // bf16
    const Adapter f32_a(exact.instance, a.list), f32_b(exact.instance, b.list);
    const Adapter bf16_a(native.instance, a.list), bf16_b(native.instance, b.list);
    const std::vector<Part> parts{{0, 3, 0}, {5, 6, 1}, {9, 1, 0}};
    const AdapterStep wide(parts, {f32_a.handle, f32_b.handle});
    const AdapterStep narrow(parts, {bf16_a.handle, bf16_b.handle});
    exact.model().run(wide.arrays);
    native.model().run(narrow.arrays);
    for (const llmh_tensor tensor : graph.results())
      CHECK(exact.model().read(tensor, wide.arrays) == native.model().read(tensor, narrow.arrays));
  }
}

TEST_CASE("a sequence's numbers do not depend on the others, their adapters, or threads") {
  for (const llmh_dtype dtype : {LLMH_DTYPE_F32, LLMH_DTYPE_Q8_0}) {
    const SiteGraph graph(true, dtype);
    const uint32_t precision = dtype == LLMH_DTYPE_F32 ? LLMH_PRECISION_F32 : LLMH_PRECISION_NATIVE;
    for (const std::string& isa : usable_isas()) {
      CAPTURE(isa);
      Setup one(cpu_backend(), graph, isa, 0, precision);
      Setup three(cpu_backend(), graph, isa, 3, precision);
      for (const auto& parts : {kMixed, kOthers}) {
        const auto together = one.run(parts);
        CHECK(three.run(parts) == together);
        for (size_t s = 0; s < parts.size(); ++s) CHECK(three.run({parts[s]}) == rows_of(together, parts, s));
        auto turned = parts;
        std::rotate(turned.begin(), turned.begin() + 2, turned.end());
        CHECK(rows_of(three.run(turned), turned, 0) == rows_of(together, parts, 2));
      }
    }
  }
}

TEST_CASE("rows without an adapter, and steps without segments, have the bits of the graph without sites") {
  for (const llmh_dtype dtype : {LLMH_DTYPE_F32, LLMH_DTYPE_Q8_0, LLMH_DTYPE_BF16}) {
    const SiteGraph sited(true, dtype);
    const SiteGraph plain(false, dtype);
    for (const uint32_t precision : {LLMH_PRECISION_F32, LLMH_PRECISION_NATIVE}) {
      Setup with(cpu_backend(), sited, {}, 2, precision);
      Setup without(cpu_backend(), plain, {}, 2, precision);
      auto base = kMixed;
      for (Part& part : base) part.adapter = -1;
      const auto expected = without.run(base);
      CHECK(with.run(base) == expected);
      CHECK(rows_of(with.run(kMixed), kMixed, 1) == rows_of(expected, base, 1));
      CHECK(with.run(kMixed) != expected);
    }
  }
}

TEST_CASE("a step with adapters allocates nothing" * doctest::skip(kThreadTagsChecked)) {
  const SiteGraph graph(true, LLMH_DTYPE_Q8_0);
  Setup cpu(cpu_backend(), graph, {}, 2, LLMH_PRECISION_NATIVE);
  const AdapterStep step(kMixed, cpu.handles);
  char text[256];
  llmh_call call{sizeof(llmh_call), sizeof text, 0, 0, text, nullptr};
  const auto run = [&] { return cpu_backend().run(cpu.model().program(), &step.arrays.step, &call); };
  REQUIRE(run() == LLMH_OK);
  const int64_t before = allocations_so_far();
  for (int i = 0; i < 10; ++i) run();
  CHECK(allocations_so_far() == before);
}

TEST_CASE("adapter_bytes is what prepare_adapter allocates, without data; 16 bits are half") {
  const SiteGraph graph(true);
  const Deltas deltas(graph.sites, 3);
  const float anywhere = 0;
  std::vector<const llmh_site_delta*> pointers;
  std::vector<llmh_site_delta> hollow = deltas.list;
  for (llmh_site_delta& delta : hollow) {
    for (const float** data :
         {&delta.a, &delta.b, &delta.b_bias, &delta.row_scale, &delta.weight, &delta.bias})
      if (*data != nullptr) *data = &anywhere;
    pointers.push_back(&delta);
  }
  uint64_t sizes[2] = {};
  for (const uint32_t precision : {LLMH_PRECISION_F32, LLMH_PRECISION_NATIVE}) {
    Instance instance(cpu_backend(), {}, 0, precision);
    plugin::check(adapters_of(cpu_backend())
                      .adapter_bytes(instance.handle, pointers.data(), static_cast<uint32_t>(pointers.size()),
                                     &sizes[precision]));
  }
  CHECK(sizes[LLMH_PRECISION_F32] > 100000);
  CHECK(sizes[LLMH_PRECISION_NATIVE] < sizes[LLMH_PRECISION_F32] * 6 / 10);
}

TEST_CASE("adapters that make no sense or do not fit are refused, and the program goes on") {
  const SiteGraph graph(true);
  Setup cpu(cpu_backend(), graph, {}, 2);
  const auto refused = [&](llmh_site_delta delta, const char* message) {
    CHECK_THROWS_WITH_AS(Adapter(cpu.instance, {delta}), doctest::Contains(message), Error);
  };
  Deltas deltas(graph.sites, 0);
  llmh_site_delta bad = deltas.list[2];
  bad.scale = INFINITY;
  refused(bad, "the scale is not finite");
  bad = deltas.list[2];
  bad.b = nullptr;
  refused(bad, "needs both of A and B or neither");
  bad = deltas.list[2];
  bad.kind = LLMH_MODULE_FIXED;
  refused(bad, "kind 4 is not known");
  bad = deltas.list[2];
  bad.in_features = int64_t{1} << 40;
  refused(bad, "a size of");
  CHECK_THROWS_WITH_AS(Adapter(cpu.instance, {deltas.list[2], deltas.list[2]}),
                       doctest::Contains("site 3: is there twice"), Error);

  llmh_site_delta moved = deltas.list[2];
  moved.site = 4;  // other sizes
  const Adapter wrong(cpu.instance, {moved});
  std::string message;
  const std::vector<Part> parts{{0, 2, 0}};
  CHECK(cpu.model().try_run(AdapterStep(parts, {wrong.handle}).arrays, &message) == LLMH_INVALID_ARGUMENT);
  CHECK(message.find("an adapter's change for 'm' is of kind 1 for 96 to 61 features") != std::string::npos);
  llmh_site_delta biased = deltas.list[1];
  biased.bias = biased.weight;
  const Adapter rms(cpu.instance, {biased});
  CHECK(cpu.model().try_run(AdapterStep(parts, {rms.handle}).arrays, &message) == LLMH_INVALID_ARGUMENT);
  CHECK(message.find("has a bias, the norm has not") != std::string::npos);
  Deltas large(graph.sites, 0);
  llmh_site_delta delta = large.list[2];
  delta.rank = kMaxAdapterRank + 1;
  delta.a = large.data(delta.rank * delta.in_features, 1);
  delta.b = large.data(delta.rank * delta.out_features, 1);
  const Adapter tall(cpu.instance, {delta});
  CHECK(cpu.model().try_run(AdapterStep(parts, {tall.handle}).arrays, &message) == LLMH_OUT_OF_RANGE);
  CHECK(message.find("an adapter of rank 65; the program was compiled for 64") != std::string::npos);
  CHECK(cpu.model().try_run(AdapterStep(parts, {cpu.handles[1]}).arrays, &message) == LLMH_OK);
}

}  // namespace llmhost::test
