// What differentiate() makes of a whole decoder: which nodes, which gradients, and what waits in memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "decoder_graph.h"
#include "graph/autodiff/layers.h"
#include "graph/autodiff/trained_weights.h"
#include "graph/lifetimes.h"
#include "vjp_case.h"

namespace llmhost::graph {
namespace {

using vjp_test::DecoderGraph;
using vjp_test::DecoderShape;
using vjp_test::Values;

DifferentiateOptions options_of(bool checkpoint, llmh_dtype dtype = LLMH_DTYPE_F32) {
  DifferentiateOptions options;
  options.checkpoint_layers = checkpoint;
  options.saved_dtype = dtype;
  return options;
}

DecoderShape adapted_shape() {
  DecoderShape shape;
  shape.layers = 3;
  shape.adapted = {"q_proj", "v_proj", "down_proj"};
  shape.dropout = 0.2F;
  shape.rank = 3;
  return shape;
}

// Random numbers for everything that a graph is given, the same for the same names.
Values values_for(const Graph& graph) {
  Values values;
  for (uint32_t t = 0; t < graph.tensor_count(); ++t) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(t));
    if (info.role != LLMH_TENSOR_WEIGHT && info.role != LLMH_TENSOR_PARAMETER) continue;
    const std::string name(to_view(info.name));
    std::seed_seq seed(name.begin(), name.end());
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 0.3F);
    std::vector<float> numbers(static_cast<size_t>(element_count(dims_of(info), {})));
    for (float& number : numbers) number = normal(random);
    values[name].resize(numbers.size() * sizeof(float));
    std::memcpy(values[name].data(), numbers.data(), values[name].size());
  }
  return values;
}

vjp_test::Gradients gradients_of(const Graph& model, const DifferentiateOptions& options) {
  const Graph with_loss = with_training_loss(model);
  return vjp_test::run_training(differentiate(with_loss, options), values_for(with_loss));
}

uint32_t loss_node(const Graph& graph) {
  for (uint32_t i = 0; i < graph.view().n_outputs; ++i)
    if (graph.view().outputs[i]->kind == LLMH_OUTPUT_LOSS)
      return static_cast<uint32_t>(graph.tensor(graph.view().outputs[i]->tensor).producer);
  return graph.node_count();
}

int count_ops(const Graph& graph, llmh_op op) {
  int count = 0;
  for (uint32_t i = 0; i < graph.node_count(); ++i) count += graph.node(i).op == op ? 1 : 0;
  return count;
}

// Bytes for one token of the forward part's tensors that the backward part reads.
int64_t waiting_bytes(const Graph& graph) {
  const uint32_t loss = loss_node(graph);
  std::vector<bool> waits(graph.tensor_count(), false);
  for (uint32_t i = loss + 1; i < graph.node_count(); ++i)
    for (const llmh_tensor input : inputs_of(graph.node(i)))
      if (input != LLMH_NO_TENSOR && graph.tensor(input).producer >= 0 &&
          graph.tensor(input).producer <= static_cast<int32_t>(loss))
        waits[static_cast<size_t>(input)] = true;
  int64_t bytes = 0;
  for (uint32_t t = 0; t < graph.tensor_count(); ++t) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(t));
    if (waits[t]) bytes += static_cast<int64_t>(byte_count(info.dtype, dims_of(info), {1, 1, 1, 1}));
  }
  return bytes;
}

TEST_CASE("layers are told by the first number of a path") {
  CHECK(layer_prefix("model.layers.3.self_attn.q_proj") == "model.layers.3");
  CHECK(layer_prefix("transformer.h.12") == "transformer.h.12");
  CHECK(layer_prefix("a.layers.0.experts.7.w1") == "a.layers.0");
  CHECK(layer_prefix("model.norm").empty());
  CHECK(layer_prefix("3.norm").empty());
  CHECK(layer_prefix("").empty());

  const Graph graph = with_training_loss(DecoderGraph(adapted_shape()).build());
  const Layers layers(graph);
  CHECK(layers.count() == 3);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const std::string_view path = to_view(graph.node(i).path);
    if (path.starts_with("model.layers.1")) CHECK(layers.of_node(i) == 1);
    if (path == "lm_head" || path == "model.embed_tokens") CHECK(layers.of_node(i) == kNoLayer);
  }
  // Layer 1's nodes without a path: two rotations, the gated activation, two sums.
  int in_layer = 0;
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    in_layer += graph.node(i).path.len == 0 && layers.of_node(i) == 1 ? 1 : 0;
  CHECK(in_layer == 5);
  CHECK(layers.crosses(graph.find("model.layers.0.output")));
}

TEST_CASE("a gradient is the same bits with and without checkpoints, dropout included") {
  const Graph model = DecoderGraph(adapted_shape()).build();
  const auto plain = gradients_of(model, options_of(false));
  CHECK(plain.size() == 18);
  CHECK(gradients_of(model, options_of(true)) == plain);
  for (const auto& [name, gradient] : plain) {
    CAPTURE(name);
    CHECK(std::ranges::any_of(gradient, [](double g) { return g != 0; }));
  }
}

TEST_CASE("activations that wait in 16 bits change gradients by their rounding") {
  const Graph model = DecoderGraph(adapted_shape()).build();
  for (const bool checkpoint : {false, true}) {
    const auto exact = gradients_of(model, options_of(checkpoint));
    const auto norm = [](const std::vector<double>& v) {
      return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
    };
    // Rows of 16 are left as they are: this decoder's are made wider.
    DecoderShape wide = adapted_shape();
    wide.width = 144;
    const Graph wide_model = DecoderGraph(wide).build();
    const auto wide_exact = gradients_of(wide_model, options_of(checkpoint));
    CHECK(gradients_of(model, options_of(checkpoint, LLMH_DTYPE_BF16)) == exact);
    for (const auto& [dtype, limit] : {std::pair(LLMH_DTYPE_BF16, 0.05), std::pair(LLMH_DTYPE_F16, 0.01)}) {
      const auto rounded = gradients_of(wide_model, options_of(checkpoint, dtype));
      CHECK(rounded != wide_exact);
      for (const auto& [name, gradient] : wide_exact) {
        CAPTURE(name);
        auto difference = rounded.at(name);
        for (size_t i = 0; i < difference.size(); ++i) difference[i] -= gradient[i];
        CHECK(norm(difference) < limit * norm(gradient));
      }
    }
  }
  CHECK_THROWS_AS(gradients_of(model, options_of(false, LLMH_DTYPE_Q8_0)), Error);
}

TEST_CASE("what is frozen gets no gradient, and nothing below the lowest trained tensor a backward pass") {
  DecoderShape shape;
  shape.layers = 3;
  const Graph model = DecoderGraph(shape).build();
  const std::string weights[] = {"model.layers.1.self_attn.v_proj.weight"};
  const auto training = differentiate(
      with_training_loss(with_trained_weights(model, std::span<const std::string>(weights))), {});
  const Graph& graph = training.graph;
  CHECK(count_ops(graph, LLMH_OP_LINEAR_WEIGHT_GRAD) == 1);
  CHECK(count_ops(graph, LLMH_OP_ACCUMULATE) == 1);
  for (uint32_t i = loss_node(graph) + 1; i < graph.node_count(); ++i) {
    CHECK_FALSE(to_view(graph.node(i).path).starts_with("model.layers.0"));
    CHECK_FALSE(to_view(graph.node(i).path).ends_with("q_proj"));  // of layer 2 it is needed below
    if (to_view(graph.node(i).path).starts_with("model.layers.2")) break;
  }
  // In layer 1 the value's gradient is the last thing that is computed.
  CHECK(graph.node(graph.node_count() - 1).op == LLMH_OP_ACCUMULATE);
  CHECK(graph.node(graph.node_count() - 2).op == LLMH_OP_LINEAR_WEIGHT_GRAD);
}

TEST_CASE("a parameter that the loss does not depend on is listed and gets nothing") {
  Graph model = DecoderGraph(adapted_shape()).build();
  const int64_t sizes[] = {3};
  model.add_parameter("idle", sizes, {LLMH_INIT_ONES, 0});
  const auto training = differentiate(with_training_loss(model), {});
  CHECK(training.trained.size() == 18);  // the loss has no use for it: with_training_loss() leaves it out

  Graph with_loss = with_training_loss(DecoderGraph(adapted_shape()).build());
  with_loss.add_parameter("idle", sizes, {LLMH_INIT_ONES, 0});
  const auto kept = differentiate(with_loss, {});
  REQUIRE(kept.trained.size() == 19);
  CHECK(kept.trained.back().name == "idle");
  CHECK(kept.graph.tensor(kept.trained.back().gradient).role == LLMH_TENSOR_PARAMETER);
  CHECK(kept.graph.parameter_init(kept.trained.back().value).kind == LLMH_INIT_ONES);
  CHECK(count_ops(kept.graph, LLMH_OP_ACCUMULATE) == 18);
  for (const TrainedTensor& trained : kept.trained)
    CHECK(to_view(kept.graph.tensor(trained.gradient).name) == trained.name + ".gradient");
}

TEST_CASE("a graph without anything to train has a loss and no backward part") {
  const auto training = differentiate(with_training_loss(DecoderGraph(DecoderShape()).build()), {});
  CHECK(training.trained.empty());
  CHECK(loss_node(training.graph) == training.graph.node_count() - 1);
}

// The shape of SmolLM2-135M, 1024 tokens.
TEST_CASE("what waits for the backward pass") {
  DecoderShape shape{30, 576, 9, 3, 64, 1536, 49152, LLMH_DTYPE_F32, {"q_proj", "v_proj"}, 8, 0, true};
  const Graph model = with_training_loss(DecoderGraph(shape).build());
  const llmh_limits limits{sizeof(llmh_limits), 1024, 4, 1024, 256, 0, 0};
  const auto arena = [&](bool checkpoint, llmh_dtype dtype) {
    const auto training = differentiate(model, options_of(checkpoint, dtype));
    return static_cast<double>(plan_arena(training.graph, limits).bytes);
  };
  CHECK(arena(false, LLMH_DTYPE_F32) < 0.75e9);
  CHECK(arena(false, LLMH_DTYPE_BF16) < 0.40e9);
  CHECK(arena(true, LLMH_DTYPE_F32) < 0.27e9);
  CHECK(arena(true, LLMH_DTYPE_BF16) < 0.17e9);

  // One more layer: two sums of the residual, q, k, v, the attention's result and sums, gate, up, and of each
  // adapter the low-rank product; with checkpoints both sums and what attention gives.
  const auto waiting = [&](int64_t layers, bool checkpoint) {
    shape.layers = layers;
    return waiting_bytes(
        differentiate(with_training_loss(DecoderGraph(shape).build()), options_of(checkpoint)).graph);
  };
  const int64_t layer = 2 * 576 + 576 + 2 * 192 + 576 + 9 + 2 * 1536 + 2 * 8;
  CHECK(waiting(6, false) - waiting(5, false) == 4 * layer);
  CHECK(waiting(6, true) - waiting(5, true) == 4 * (2 * 576 + 576 + 9));
}

TEST_CASE("each tensor is narrowed once, sums of scores never") {
  DecoderShape shape = adapted_shape();
  shape.width = 256;
  shape.heads = 64;
  const auto training =
      differentiate(with_training_loss(DecoderGraph(shape).build()), options_of(false, LLMH_DTYPE_BF16));
  const Graph& graph = training.graph;
  std::vector<int> narrowed(graph.tensor_count(), 0);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    if (node.op != LLMH_OP_CAST || graph.tensor(node.outputs[0]).dtype != LLMH_DTYPE_BF16) continue;
    CHECK(i < loss_node(graph));
    CHECK(++narrowed[static_cast<size_t>(node.inputs[0])] == 1);
    const llmh_node& producer = graph.node(static_cast<uint32_t>(graph.tensor(node.inputs[0]).producer));
    if (producer.op == LLMH_OP_ATTENTION_TRAIN) CHECK(node.inputs[0] == producer.outputs[0]);
  }
  CHECK(std::accumulate(narrowed.begin(), narrowed.end(), 0) > 10);
}

}  // namespace
}  // namespace llmhost::graph
