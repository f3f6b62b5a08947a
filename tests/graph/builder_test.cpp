#include "graph/builder.h"

#include <doctest/doctest.h>

#include <cstring>
#include <map>

#include "plugin/status.h"

namespace llmhost::graph {
namespace {

class FakeCheckpoint final : public WeightLookup {
 public:
  std::optional<WeightInfo> find(std::string_view name) const override {
    const auto found = weights.find(std::string(name));
    if (found == weights.end()) return std::nullopt;
    return found->second;
  }
  std::map<std::string, WeightInfo> weights;
};

struct Fixture {
  Fixture() {
    checkpoint.weights["q.weight"] = {LLMH_DTYPE_Q8_0, {96, 64}};
    checkpoint.weights["q.bias"] = {LLMH_DTYPE_BF16, {96}};
  }
  llmh_tensor weight(std::string_view name, std::vector<int64_t> shape, uint32_t flags = 0) {
    llmh_tensor out = 99;
    plugin::check(table()->weight(table(), to_str(name), shape.data(), static_cast<int32_t>(shape.size()),
                                  flags, &out));
    return out;
  }
  llmh_builder* table() { return builder.table(); }

  FakeCheckpoint checkpoint;
  Graph graph;
  GraphBuilder builder{graph, checkpoint};
};

TEST_CASE_FIXTURE(Fixture, "the same input, weight and scalar give the same tensor") {
  llmh_tensor first = -1;
  llmh_tensor second = -1;
  plugin::check(table()->input(table(), LLMH_INPUT_TOKEN_IDS, &first));
  plugin::check(table()->input(table(), LLMH_INPUT_TOKEN_IDS, &second));
  CHECK(first == second);
  CHECK(weight("q.weight", {96, 64}) == weight("q.weight", {96, 64}));
  CHECK(graph.scalar(0.5F) == graph.scalar(0.5F));
  CHECK(graph.scalar(0.5F) != graph.scalar(-0.5F));
  CHECK_THROWS_WITH_AS(plugin::check(table()->input(table(), 9, &first)),
                       "step input 9 is unknown: LLMH_INPUT_* goes from 1 to 5", Error);
}

TEST_CASE_FIXTURE(Fixture, "weights are looked up, and vectors are f32 in the graph") {
  CHECK(graph.tensor(weight("q.weight", {96, 64})).dtype == LLMH_DTYPE_Q8_0);
  CHECK(graph.tensor(weight("q.bias", {96})).dtype == LLMH_DTYPE_F32);
  CHECK(weight("absent", {96}, LLMH_WEIGHT_OPTIONAL) == LLMH_NO_TENSOR);
  CHECK_THROWS_WITH_AS(weight("absent", {96}), "the checkpoint has no tensor 'absent', which should be [96]",
                       Error);
  CHECK_THROWS_WITH_AS(weight("q.weight", {64, 64}),
                       "tensor 'q.weight' is [96,64] in the checkpoint, the config makes it [64,64]", Error);
}

TEST_CASE_FIXTURE(Fixture, "errors of a node name op and path, and leave the graph as it was") {
  llmh_tensor ids = -1;
  plugin::check(table()->input(table(), LLMH_INPUT_TOKEN_IDS, &ids));
  const llmh_tensor x =
      graph.add_placeholder({LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(48)}});
  const llmh_tensor inputs[] = {x, weight("q.weight", {96, 64})};
  const uint32_t tensors = graph.tensor_count();
  llmh_tensor out = -1;
  const auto add = [&](uint32_t n_inputs, uint32_t n_outputs) {
    plugin::check(table()->add_node(table(), LLMH_OP_LINEAR, to_str("model.layers.3.self_attn.q_proj"),
                                    inputs, n_inputs, nullptr, 0, &out, n_outputs));
  };
  CHECK_THROWS_WITH_AS(
      add(2, 1),
      "linear at model.layers.3.self_attn.q_proj: x is [T,48], the weight [96,64] wants 64 columns", Error);
  CHECK_THROWS_WITH_AS(add(1, 1), "linear at model.layers.3.self_attn.q_proj: the input 'weight' is missing",
                       Error);
  CHECK_THROWS_WITH_AS(add(2, 2),
                       "linear at model.layers.3.self_attn.q_proj: it has 1 outputs, 2 are asked for", Error);
  CHECK(graph.tensor_count() == tensors);
  CHECK(graph.node_count() == 0);
  CHECK(out == -1);
}

TEST_CASE_FIXTURE(Fixture, "an op newer than the host is refused") {
  llmh_tensor out = -1;
  CHECK_THROWS_WITH_AS(plugin::check(table()->add_node(table(), 9999, {}, nullptr, 0, nullptr, 0, &out, 1)),
                       "op 9999 is newer than this host's op set (version 1)", Error);
}

TEST_CASE_FIXTURE(Fixture, "parameters are for rewrites only") {
  const int64_t shape[] = {4, 2};
  llmh_tensor out = -1;
  CHECK_THROWS_AS(
      plugin::check(table()->parameter(table(), to_str("lora_A"), shape, 2, LLMH_INIT_ZEROS, 0, &out)),
      Error);
  GraphBuilder rewrite(graph, checkpoint, BuilderMode::kRewrite);
  plugin::check(
      rewrite.table()->parameter(rewrite.table(), to_str("lora_A"), shape, 2, LLMH_INIT_NORMAL, 0.5F, &out));
  CHECK(graph.tensor(out).role == LLMH_TENSOR_PARAMETER);
  CHECK(graph.parameter_init(out).kind == LLMH_INIT_NORMAL);
  CHECK(graph.parameter_init(out).value == 0.5F);
}

TEST_CASE_FIXTURE(Fixture, "constants are copied, aligned and checked for size") {
  const float values[] = {1, 2, 3};
  const int64_t shape[] = {3};
  llmh_tensor out = -1;
  plugin::check(
      table()->constant(table(), to_str("slopes"), LLMH_DTYPE_F32, shape, 1, values, sizeof values, &out));
  const llmh_tensor_info& info = *table()->info(table(), out);
  CHECK(reinterpret_cast<uintptr_t>(info.data) % 64 == 0);
  CHECK(std::memcmp(info.data, values, sizeof values) == 0);
  CHECK_THROWS_WITH_AS(
      plugin::check(table()->constant(table(), to_str("short"), LLMH_DTYPE_F32, shape, 1, values, 8, &out)),
      "constant 'short' of f32[3] takes 12 bytes, 8 are given", Error);
  CHECK(table()->info(table(), 4711) == nullptr);
  CHECK(table()->info(table(), -1) == nullptr);
}

// What an older plugin's header had: the struct without its last field.
struct OldNormAttrs {
  uint32_t struct_size;
  float eps;
};
struct NewNormAttrs {
  llmh_norm_attrs known;
  float added_later;
};

TEST_CASE_FIXTURE(Fixture, "attributes of older and newer headers") {
  const llmh_tensor x =
      graph.add_placeholder({LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(8)}});
  const OldNormAttrs old{sizeof(OldNormAttrs), 1e-5F};
  graph.add_node(LLMH_OP_RMS_NORM, "", std::span(&x, 1), &old, sizeof old);
  const auto& read = attrs_of<llmh_norm_attrs>(graph.node(0));
  CHECK(read.struct_size == sizeof(llmh_norm_attrs));
  CHECK(read.eps == 1e-5F);
  CHECK(read.weight_offset == 0);

  NewNormAttrs newer{{sizeof(NewNormAttrs), 1e-6F, 1.0F, 0}, 0};
  graph.add_node(LLMH_OP_RMS_NORM, "", std::span(&x, 1), &newer, sizeof newer);
  CHECK(attrs_of<llmh_norm_attrs>(graph.node(1)).weight_offset == 1.0F);
  newer.added_later = 2;
  CHECK_THROWS_AS(graph.add_node(LLMH_OP_RMS_NORM, "", std::span(&x, 1), &newer, sizeof newer), Error);
  CHECK_THROWS_WITH_AS(graph.add_node(LLMH_OP_RMS_NORM, "n", std::span(&x, 1)),
                       "rms_norm at n: the attributes are missing", Error);
  CHECK_THROWS_WITH_AS(graph.add_node(LLMH_OP_RMS_NORM, "n", std::span(&x, 1), &old, 4),
                       "rms_norm at n: the attributes say they have 8 bytes, 4 are given", Error);
}

TEST_CASE("rotary factors are copied with the attributes") {
  Graph graph;
  auto attrs = make_attrs<llmh_rope_angles_attrs>();
  attrs.rotary_dim = 4;
  attrs.theta = 10000;
  attrs.scaling = LLMH_ROPE_SCALING_LONGROPE;
  attrs.original_context = 8;
  std::vector<float> short_factors = {1, 2};
  std::vector<float> long_factors = {3, 4};
  attrs.short_factors = short_factors.data();
  attrs.long_factors = long_factors.data();
  const llmh_tensor inputs[] = {graph.add_input(LLMH_INPUT_POSITIONS),
                                graph.add_input(LLMH_INPUT_ROPE_LENGTHS)};
  graph.add_node(LLMH_OP_ROPE_ANGLES, "", inputs, &attrs, sizeof attrs);
  short_factors.assign(2, -1);
  long_factors.assign(2, -1);
  const auto& kept = attrs_of<llmh_rope_angles_attrs>(graph.node(0));
  CHECK(kept.short_factors[0] == 1);
  CHECK(kept.short_factors[1] == 2);
  CHECK(kept.long_factors[0] == 3);
  CHECK(kept.long_factors[1] == 4);
}

TEST_CASE("names are unique, and outputs have a row for each output") {
  Graph graph;
  const llmh_tensor x =
      graph.add_placeholder({LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_TOKENS), constant_dim(8)}});
  const llmh_tensor y =
      graph.add_placeholder({LLMH_DTYPE_F32, {symbol_dim(LLMH_DIM_OUTPUTS), constant_dim(8)}});
  graph.set_name(x, "hidden");
  CHECK(graph.find("hidden") == x);
  CHECK(graph.find("%0") == LLMH_NO_TENSOR);
  CHECK_THROWS_WITH_AS(graph.set_name(y, "hidden"), "two tensors are named 'hidden'", Error);
  CHECK_THROWS_WITH_AS(
      graph.add_output(LLMH_OUTPUT_LOGITS, x),
      "graph output logits: the tensor is f32[T,8], it must be f32[R,...]: gather the output rows first",
      Error);
  graph.add_output(LLMH_OUTPUT_LOGITS, y);
  CHECK(graph.view().n_outputs == 1);
  CHECK_THROWS_AS(graph.add_output(LLMH_OUTPUT_LOGITS, y), Error);
  Graph moved = std::move(graph);
  CHECK(to_view(moved.view().tensors[x]->name) == "hidden");
}

}  // namespace
}  // namespace llmhost::graph
