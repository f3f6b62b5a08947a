// From a model's graph to one with a loss, weights that become parameters, and what is refused.
#include <doctest/doctest.h>

#include <functional>
#include <random>

#include "core/error.h"
#include "decoder_graph.h"
#include "graph/autodiff/autodiff.h"
#include "graph/autodiff/minimum_cut.h"
#include "graph/autodiff/trained_weights.h"

namespace llmhost::graph {
namespace {

using vjp_test::DecoderGraph;
using vjp_test::DecoderShape;

llmh_scalar_attrs scalar(float value) {
  auto attrs = make_attrs<llmh_scalar_attrs>();
  attrs.value = value;
  return attrs;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// A linear head over a given hidden state, and what is done to its result.
struct HeadGraph {
  HeadGraph() : emit(graph, "lm_head") {
    const int64_t table[] = {5, 3};
    const int64_t vector[] = {5};
    x = graph.add_placeholder({LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(3)}});
    y = emit.op(LLMH_OP_LINEAR, {x, graph.add_weight("lm_head.weight", LLMH_DTYPE_F32, table),
                                 graph.add_weight("lm_head.bias", LLMH_DTYPE_F32, vector)});
  }
  const llmh_node& loss_of(Graph& with_loss) { return with_loss.node(with_loss.node_count() - 1); }
  Graph finish() {
    graph.add_output(LLMH_OUTPUT_LOGITS, y);
    return with_training_loss(graph);
  }
  Graph graph;
  Emit emit;
  llmh_tensor x, y;
};

TEST_CASE("a frozen head and its loss are one node, with its bias, factors and softcap") {
  HeadGraph head;
  head.y = head.emit.scale(head.y, 0.5F);
  head.y = head.emit.mul(head.graph.scalar(3.0F), head.y);
  head.y = head.emit.div(head.y, 6.0F);
  head.y = head.emit.op(LLMH_OP_SOFTCAP, {head.y}, scalar(30));
  const Graph graph = head.finish();
  REQUIRE(graph.node_count() == 1);
  const llmh_node& node = graph.node(0);
  CHECK(node.op == LLMH_OP_LINEAR_CROSS_ENTROPY);
  CHECK(to_view(node.path) == "lm_head");
  CHECK(attrs_of<llmh_head_attrs>(node).value == doctest::Approx(0.25));
  CHECK(attrs_of<llmh_head_attrs>(node).softcap == 30);
  CHECK(input_of(node, 2) == graph.find("lm_head.bias"));
  CHECK(graph.view().n_outputs == 1);
  CHECK(graph.view().outputs[0]->kind == LLMH_OUTPUT_LOSS);
}

TEST_CASE("other heads leave their logits") {
  const auto last_op = [](const std::function<void(HeadGraph&)>& change) {
    HeadGraph head;
    change(head);
    const Graph graph = head.finish();
    return graph.node(graph.node_count() - 1).op;
  };
  CHECK(last_op([](HeadGraph&) {}) == LLMH_OP_LINEAR_CROSS_ENTROPY);
  // The factor comes after the softcap.
  CHECK(last_op([](HeadGraph& head) {
          head.y = head.emit.scale(head.emit.op(LLMH_OP_SOFTCAP, {head.y}, scalar(30)), 2);
        }) == LLMH_OP_CROSS_ENTROPY);
  CHECK(last_op([](HeadGraph& head) {
          head.y =
              head.emit.op(LLMH_OP_SOFTCAP, {head.emit.op(LLMH_OP_SOFTCAP, {head.y}, scalar(9))}, scalar(30));
        }) == LLMH_OP_CROSS_ENTROPY);
  CHECK(last_op([](HeadGraph& head) { head.y = head.emit.add(head.y, head.y); }) == LLMH_OP_CROSS_ENTROPY);
  CHECK(last_op([](HeadGraph& head) { head.y = head.emit.scale(head.y, 0); }) == LLMH_OP_CROSS_ENTROPY);
  CHECK(last_op([](HeadGraph& head) { head.y = head.emit.mul(head.y, head.y); }) == LLMH_OP_CROSS_ENTROPY);

  const Graph model = DecoderGraph(DecoderShape()).build();
  const Graph kept = with_training_loss(model, true);
  CHECK(kept.view().n_outputs == 2);
  CHECK(kept.node(kept.node_count() - 1).op == LLMH_OP_CROSS_ENTROPY);
  const std::string table[] = {"model.embed_tokens.weight"};
  const Graph tied = with_training_loss(with_trained_weights(model, std::span<const std::string>(table)));
  CHECK(tied.node(tied.node_count() - 1).op == LLMH_OP_CROSS_ENTROPY);
}

TEST_CASE("attention is over the step's own tokens; state in other ops is refused") {
  const Graph graph = with_training_loss(DecoderGraph(DecoderShape()).build());
  for (uint32_t i = 0; i < graph.node_count(); ++i) CHECK(graph.node(i).op != LLMH_OP_ATTENTION);

  Graph other;
  auto attrs = make_attrs<llmh_state_attrs>();
  attrs.part = LLMH_PART_KEYS;
  attrs.width = 4;
  const llmh_tensor keys = other.add_node(LLMH_OP_STATE_READ, "model.layers.0", {}, &attrs, sizeof attrs)[0];
  Emit emit(other, "");
  other.add_output(LLMH_OUTPUT_LOGITS, emit.gather(keys, other.add_input(LLMH_INPUT_OUTPUT_ROWS)));
  const std::string message = message_of([&] { with_training_loss(other); });
  CHECK(contains(message, "state_read at model.layers.0"));
  CHECK(contains(message_of([] { with_training_loss(Graph()); }), "LOGITS"));
  CHECK(contains(message_of([] { differentiate(Graph(), {}); }), "LOSS"));
}

TEST_CASE("weights become parameters where they are meant to") {
  const Graph model = DecoderGraph(DecoderShape()).build();
  const TrainedWeight head[] = {{"model.embed_tokens.weight", "lm_head.weight", {"lm_head"}}};
  const Graph untied = with_trained_weights(model, head);
  const llmh_tensor table = untied.find("model.embed_tokens.weight");
  const llmh_tensor copy = untied.find("lm_head.weight");
  CHECK(untied.tensor(table).role == LLMH_TENSOR_WEIGHT);
  CHECK(untied.tensor(copy).role == LLMH_TENSOR_PARAMETER);
  for (uint32_t i = 0; i < untied.node_count(); ++i) {
    if (to_view(untied.node(i).path) == "lm_head") CHECK(untied.node(i).inputs[1] == copy);
    if (to_view(untied.node(i).path) == "model.embed_tokens") CHECK(untied.node(i).inputs[0] == table);
  }
  // Both uses of the tied table add to its gradient.
  const std::string whole[] = {"model.embed_tokens.weight"};
  const auto training =
      differentiate(with_training_loss(with_trained_weights(model, std::span<const std::string>(whole))), {});
  int sums = 0;
  for (uint32_t i = 0; i < training.graph.node_count(); ++i)
    sums += training.graph.node(i).op == LLMH_OP_ACCUMULATE ? 1 : 0;
  CHECK(sums == 2);

  const auto refused = [&](const TrainedWeight& wanted) {
    return message_of([&] { with_trained_weights(model, std::span(&wanted, 1)); });
  };
  CHECK(contains(refused({"model.nothing.weight", "", {}}), "no weight 'model.nothing.weight'"));
  CHECK(contains(refused({"model.norm.weight", "", {"lm_head"}}), "is not used"));
  CHECK(contains(refused({"model.embed_tokens.weight", "", {"lm_head"}}), "model.embed_tokens.weight"));
  const TrainedWeight twice[] = {{"model.norm.weight", "a", {}}, {"model.norm.weight", "b", {}}};
  CHECK(contains(message_of([&] { with_trained_weights(model, twice); }), "as 'a' and as 'b'"));
}

TEST_CASE("an op without a gradient is refused with its path") {
  const auto refused = [](const std::function<llmh_tensor(Graph&, llmh_tensor)>& make) {
    Graph graph;
    const int64_t sizes[] = {6, 4};
    Emit emit(graph, "");
    const llmh_tensor x = emit.op(
        LLMH_OP_EMBEDDING, {graph.add_parameter("p", sizes, {}), graph.add_input(LLMH_INPUT_TOKEN_IDS)});
    const llmh_tensor rows = emit.gather(make(graph, x), graph.add_input(LLMH_INPUT_OUTPUT_ROWS));
    graph.add_output(LLMH_OUTPUT_LOGITS, rows);
    return message_of([&] { differentiate(with_training_loss(graph), {}); });
  };
  const auto served = [](Graph& graph, llmh_tensor x) {
    const int64_t sizes[] = {4, 4};
    auto attrs = make_attrs<llmh_site_attrs>();
    attrs.adapter_site = 1;
    Emit emit(graph, "model.layers.0.q_proj");
    return emit.op(LLMH_OP_LORA_LINEAR, {x, graph.add_weight("w", LLMH_DTYPE_F32, sizes)}, attrs);
  };
  CHECK(contains(refused(served), "lora_linear at model.layers.0.q_proj has no gradient"));
  const auto slopes = [](Graph& graph, llmh_tensor x) {
    auto attrs = make_attrs<llmh_attention_attrs>();
    attrs.n_heads = attrs.n_kv_heads = 1;
    attrs.k_head_dim = attrs.v_head_dim = 4;
    const int64_t sizes[] = {1};
    Emit emit(graph, "attn");
    return emit.op(LLMH_OP_ATTENTION, {x, x, x, graph.add_parameter("slopes", sizes, {})}, attrs);
  };
  CHECK(contains(refused(slopes), "attention_train at attn has no gradient: the slopes"));
  const auto norm_site = [](Graph& graph, llmh_tensor x) {
    auto attrs = make_attrs<llmh_norm_attrs>();
    attrs.adapter_site = 2;
    const int64_t sizes[] = {4};
    return Emit(graph, "norm").op(LLMH_OP_RMS_NORM, {x, graph.add_weight("w", LLMH_DTYPE_F32, sizes)}, attrs);
  };
  CHECK(contains(refused(norm_site), "rms_norm at norm has no gradient"));
}

// Against all ways to split small networks.
TEST_CASE("the minimum cut is one, and the one nearest to the sink") {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 2 + random() % 6;
    std::vector<std::vector<int64_t>> capacity(n, std::vector<int64_t>(n, 0));
    MinimumCut cut(n);
    for (size_t from = 0; from < n; ++from)
      for (size_t to = 0; to < n; ++to) {
        if (from == to || random() % 2 == 0) continue;
        capacity[from][to] = random() % 5;
        cut.add_edge(from, to, capacity[from][to]);
      }
    const auto weight_of = [&](const auto& is_at_sink) {
      int64_t weight = 0;
      for (size_t from = 0; from < n; ++from)
        for (size_t to = 0; to < n; ++to)
          if (!is_at_sink(from) && is_at_sink(to)) weight += capacity[from][to];
      return weight;
    };
    const auto found = cut.sink_side(0, n - 1);
    REQUIRE(!found[0]);
    REQUIRE(found[n - 1]);
    const int64_t weight = weight_of([&](size_t v) { return found[v]; });
    for (size_t set = 0; set < (size_t{1} << n); ++set) {
      if ((set & 1U) != 0 || (set >> (n - 1) & 1U) == 0) continue;
      const int64_t other = weight_of([&](size_t v) { return (set >> v & 1U) != 0; });
      CHECK(other >= weight);
      if (other > weight) continue;
      for (size_t v = 0; v < n; ++v)
        if (found[v]) CHECK((set >> v & 1U) != 0);
    }
  }
}

}  // namespace
}  // namespace llmhost::graph
