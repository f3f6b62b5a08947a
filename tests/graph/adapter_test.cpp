// Sites of adapters: which modules become sites, what stays as it is, and what the reference evaluator makes
// of rows that belong to adapters.
#include <doctest/doctest.h>

#include "core/error.h"
#include "graph/adapter_sites.h"
#include "graph/decompose.h"
#include "graph/dump.h"
#include "graph/fuse.h"
#include "graph/op_registry.h"
#include "graph_run.h"
#include "plugin/status.h"

namespace llmhost::graph {
namespace {

using test::kTokens;
using test::Run;
using test::StepData;

constexpr int64_t kWidth = 6;
constexpr int64_t kRows = 7;  // of the table: StepData's ids are below
const auto kAll = [](const Graph&, uint32_t) { return true; };
const auto kWanted = [](const AdapterSite&) { return true; };

// An embedding, a residual block with its norm before it, and a head with the embedding's table.
struct Little {
  Little() {
    const llmh_tensor table = weight("embed.weight", {kRows, kWidth});
    const llmh_tensor ids[] = {table, graph.add_input(LLMH_INPUT_TOKEN_IDS)};
    const llmh_tensor x = graph.add_node(LLMH_OP_EMBEDDING, "embed", ids)[0];
    const llmh_tensor q = linear("layer.q", x, true);
    const llmh_tensor sum_of[] = {x, q};
    const llmh_tensor sum = graph.add_node(LLMH_OP_ADD, "", sum_of)[0];
    auto attrs = make_attrs<llmh_norm_attrs>();
    attrs.eps = 1e-5F;
    const llmh_tensor normed_of[] = {sum, weight("norm.weight", {kWidth})};
    const llmh_tensor normed = graph.add_node(LLMH_OP_RMS_NORM, "norm", normed_of, &attrs, sizeof attrs)[0];
    const llmh_tensor rows_of[] = {normed, graph.add_input(LLMH_INPUT_OUTPUT_ROWS)};
    const llmh_tensor rows = graph.add_node(LLMH_OP_GATHER, "", rows_of)[0];
    const llmh_tensor head[] = {rows, table};
    graph.add_output(LLMH_OUTPUT_LOGITS, graph.add_node(LLMH_OP_LINEAR, "head", head)[0]);
  }
  llmh_tensor weight(const char* name, std::vector<int64_t> shape) {
    return graph.add_weight(name, LLMH_DTYPE_F32, shape);
  }
  llmh_tensor linear(const std::string& path, llmh_tensor x, bool biased) {
    std::vector<llmh_tensor> inputs{x, weight((path + ".weight").c_str(), {kWidth, kWidth})};
    if (biased) inputs.push_back(weight((path + ".bias").c_str(), {kWidth}));
    return graph.add_node(LLMH_OP_LINEAR, path, inputs)[0];
  }
  Graph graph;
};

std::vector<std::string> op_names(const Graph& graph) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < graph.node_count(); ++i) names.push_back(op_name(graph.node(i).op));
  return names;
}

std::vector<float> run_little(const Graph& graph, const StepData& step,
                              const std::vector<llmh_adapter_segment>& segments = {}) {
  std::mt19937 random(3);
  Run run(graph, step);
  run.set(graph.find("embed.weight"), test::random_floats(random, kRows * kWidth));
  run.set(graph.find("layer.q.weight"), test::random_floats(random, kWidth * kWidth));
  run.set(graph.find("layer.q.bias"), test::random_floats(random, kWidth));
  run.set(graph.find("norm.weight"), test::random_floats(random, kWidth));
  run.segments(segments);
  return run.eval().floats(graph.view().outputs[0]->tensor);
}

struct Adapter {
  explicit Adapter(const std::vector<llmh_site_delta>& deltas) {
    std::vector<const llmh_site_delta*> pointers;
    for (const llmh_site_delta& delta : deltas) pointers.push_back(&delta);
    plugin::check(reference_adapters()->prepare_adapter(nullptr, pointers.data(),
                                                        static_cast<uint32_t>(pointers.size()), &handle));
  }
  ~Adapter() { reference_adapters()->release_adapter(nullptr, handle); }
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;
  llmh_adapter* handle = nullptr;
};

llmh_site_delta delta_of(const AdapterSite& site) {
  llmh_site_delta delta{};
  delta.struct_size = sizeof delta;
  delta.site = site.site;
  delta.kind = site.kind;
  delta.in_features = site.in_features;
  delta.out_features = site.out_features;
  delta.scale = 1;
  return delta;
}

}  // namespace

TEST_CASE("modules become sites, in the order of their nodes") {
  const Little model;
  std::vector<AdapterSite> sites;
  const Graph graph = with_adapter_sites(model.graph, kWanted, sites);
  REQUIRE(sites.size() == 4);
  const std::vector<std::string> paths{"embed", "layer.q", "norm", "head"};
  const std::vector<int32_t> kinds{LLMH_MODULE_EMBEDDING, LLMH_MODULE_LINEAR, LLMH_MODULE_NORM,
                                   LLMH_MODULE_LINEAR};
  for (size_t i = 0; i < sites.size(); ++i) {
    CHECK(sites[i].path == paths[i]);
    CHECK(sites[i].kind == kinds[i]);
    CHECK(sites[i].site == static_cast<int32_t>(i) + 1);
  }
  CHECK(sites[0].in_features == kRows);
  CHECK(sites[0].out_features == kWidth);
  CHECK(sites[1].has_bias);
  CHECK(sites[2].out_features == kWidth);
  CHECK(sites[3].in_features == kWidth);
  CHECK(sites[3].out_features == kRows);
  CHECK(sites[3].weight_name == "embed.weight");
  CHECK(op_names(graph) == std::vector<std::string>{"lora_embedding", "lora_linear", "add", "rms_norm",
                                                    "gather", "lora_linear"});
  const Graph fused = fuse(graph, kAll);
  CHECK(dump(fused).find("add_rms_norm") != std::string::npos);
  CHECK(dump(fused).find("adapter_site=3") != std::string::npos);
  CHECK_THROWS_WITH_AS(
      decompose(graph, [](const Graph&, uint32_t) { return false; }),
      doctest::Contains("norm at norm: the backend does not run norms that adapters replace"), Error);
}

TEST_CASE("what is not wanted or cannot change is listed without a site") {
  Little model;
  const std::vector<int64_t> shape{3, kWidth};
  const llmh_tensor stack = model.graph.add_weight("gains", LLMH_DTYPE_F32, shape);
  const llmh_tensor inputs[] = {stack, stack};
  model.graph.add_node(LLMH_OP_MUL, "", inputs);
  std::vector<AdapterSite> sites;
  const Graph graph = with_adapter_sites(
      model.graph, [](const AdapterSite& site) { return site.kind == LLMH_MODULE_LINEAR; }, sites);
  REQUIRE(sites.size() == 5);
  CHECK(sites[0].site == 0);
  CHECK(sites[0].kind == LLMH_MODULE_EMBEDDING);
  CHECK(sites[1].site == 1);
  CHECK(sites[2].site == 0);
  CHECK(sites[3].site == 2);
  CHECK(sites[4].path == "gains");
  CHECK(sites[4].kind == LLMH_MODULE_FIXED);
  CHECK(op_names(graph)[0] == "embedding");
}

TEST_CASE("a module that runs twice is one site; a path of two weights is none") {
  Little twice;
  const llmh_tensor x = twice.graph.node(0).outputs[0];
  twice.linear("layer.q", x, true);
  std::vector<AdapterSite> sites;
  CHECK(op_names(with_adapter_sites(twice.graph, kWanted, sites)).back() == "lora_linear");
  CHECK(sites.size() == 4);
  CHECK(sites[1].site == 2);

  const llmh_tensor other[] = {x, twice.weight("other", {kWidth, kWidth})};
  twice.graph.add_node(LLMH_OP_LINEAR, "layer.q", other);
  CHECK(op_names(with_adapter_sites(twice.graph, kWanted, sites))[1] == "linear");
  CHECK(sites[1].kind == LLMH_MODULE_FIXED);
  CHECK(sites[1].site == 0);
}

TEST_CASE("sites without adapters give the numbers of the graph without sites, and so do rows of the base") {
  const Little model;
  const StepData step({0, 2, 0}, {2, 1, 3});
  std::vector<AdapterSite> sites;
  const Graph graph = with_adapter_sites(model.graph, kWanted, sites);
  const auto base = run_little(model.graph, step);
  CHECK(run_little(graph, step) == base);
  CHECK(run_little(fuse(graph, kAll), step) == base);

  llmh_site_delta delta = delta_of(sites[1]);
  const std::vector<float> bias(kWidth, 2.5F);
  delta.bias = bias.data();
  const Adapter adapter({delta});
  const std::vector<int32_t> tokens{2};
  const std::vector<int32_t> outputs{1};
  const auto mixed = run_little(graph, step, {{adapter.handle, tokens.data(), outputs.data(), 1, 1}});
  for (size_t i = 0; i < mixed.size(); ++i) {
    const bool is_own = i / kRows == 1;
    CHECK((mixed[i] == base[i]) == !is_own);
  }
}

TEST_CASE("a whole change by hand: low rank, scales, biases and a weight") {
  Graph graph;
  const llmh_tensor x = test::placeholder(graph, {kTokens, constant_dim(2)});
  const std::vector<int64_t> shape{2, 2};
  const llmh_tensor w = graph.add_weight("w", LLMH_DTYPE_F32, shape);
  auto attrs = make_attrs<llmh_site_attrs>();
  attrs.adapter_site = 5;
  const llmh_tensor y = test::add(graph, LLMH_OP_LORA_LINEAR, {x, w}, attrs);
  const float a[] = {1, 2};
  const float b[] = {3, -1};
  const float b_bias[] = {0.5F, 0};
  const float gain[] = {2, 1};
  const float bias[] = {0, 10};
  llmh_site_delta delta{};
  delta.struct_size = sizeof delta;
  delta.site = 5;
  delta.kind = LLMH_MODULE_LINEAR;
  delta.in_features = delta.out_features = 2;
  delta.rank = 1;
  delta.scale = 0.5F;
  delta.a = a;
  delta.b = b;
  delta.b_bias = b_bias;
  delta.row_scale = gain;
  delta.bias = bias;
  const Adapter adapter({delta});
  const StepData step({0}, {2});
  Run run(graph, step);
  run.set(x, {1, 1, 2, 3}).set(w, {1, 0, 0, 1});
  const int32_t rows[] = {1};
  const std::vector<llmh_adapter_segment> segments{{adapter.handle, rows, nullptr, 1, 0}};
  run.segments(segments);
  // u = 2 + 6 = 8; y = g (x + 0.5 (8 b + beta)) + bias
  CHECK(run.eval().floats(y) == std::vector<float>{1, 1, 2 * (2 + 0.5F * 24.5F), 3 + 0.5F * -8 + 10});
}

TEST_CASE("deltas that make no sense, and sites that do not fit, are refused") {
  llmh_site_delta delta{};
  delta.struct_size = sizeof delta;
  delta.site = 1;
  delta.kind = LLMH_MODULE_NORM;
  delta.in_features = delta.out_features = 4;
  delta.rank = 2;
  CHECK_THROWS_WITH_AS(Adapter({delta}), doctest::Contains("must have both of A and B"), Error);
  delta.rank = 0;
  delta.row_scale = &delta.scale;
  CHECK_THROWS_WITH_AS(Adapter({delta}), doctest::Contains("a module of its kind has not"), Error);
  delta.row_scale = nullptr;
  CHECK_THROWS_WITH_AS(Adapter({delta, delta}), doctest::Contains("two deltas for site 1"), Error);

  Graph graph;
  const llmh_tensor heads = test::placeholder(graph, {symbol_dim(LLMH_DIM_TOKENS, 2), constant_dim(2)});
  const std::vector<int64_t> shape{2, 2};
  const llmh_tensor w = graph.add_weight("w", LLMH_DTYPE_F32, shape);
  auto attrs = make_attrs<llmh_site_attrs>();
  attrs.adapter_site = 1;
  CHECK_THROWS_WITH_AS(test::add(graph, LLMH_OP_LORA_LINEAR, {heads, w}, attrs),
                       doctest::Contains("an adapter's site wants a row for each token or output"), Error);
  const llmh_tensor x = test::placeholder(graph, {kTokens, constant_dim(2)});
  attrs.adapter_site = 0;
  CHECK_THROWS_WITH_AS(test::add(graph, LLMH_OP_LORA_LINEAR, {x, w}, attrs),
                       doctest::Contains("sites are numbered from 1"), Error);
}

}  // namespace llmhost::graph
