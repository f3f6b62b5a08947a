// The helper that makes a backend from a list of ops: through the whole llmh_backend table, as an engine
// would.
#include "llmhost/simple_backend.hpp"

#include <doctest/doctest.h>

#include <cstddef>

#include "core/error.h"
#include "graph/lifetimes.h"
#include "graph_run.h"
#include "plugin/status.h"

namespace llmhost::graph {
namespace {

using test::kTokens;
using test::StepData;

int own_calls = 0;

void own_scale(const llmh::OpCall& call) {
  ++own_calls;
  const float value = llmh::node_attrs<llmh_scalar_attrs>(call.node()).value;
  for (int64_t i = 0; i < call.count(call.output()); ++i) call.out()[i] = call.in(0)[i] * value;
}

const llmh::SimpleBackend& own_device() {
  static const llmh::SimpleBackend device("own", {{LLMH_OP_SCALE, own_scale}}, reference_extension());
  return device;
}

// Embedding, one attention layer, output rows: a model in small.
struct Tiny {
  Tiny() {
    const int64_t table_shape[] = {7, 8};
    table = graph.add_weight("table", LLMH_DTYPE_F32, table_shape);
    const llmh_tensor x = test::add(graph, LLMH_OP_EMBEDDING, {table, graph.add_input(LLMH_INPUT_TOKEN_IDS)});
    auto scale = make_attrs<llmh_scalar_attrs>();
    scale.value = 2;
    const llmh_tensor scaled = test::add(graph, LLMH_OP_SCALE, {x}, scale);
    auto attrs = make_attrs<llmh_attention_attrs>();
    attrs.slot = 3;
    attrs.n_heads = attrs.n_kv_heads = 2;
    attrs.k_head_dim = attrs.v_head_dim = 4;
    attrs.scale = 0.5F;
    attrs.causal = 1;
    const llmh_tensor mixed = test::add(graph, LLMH_OP_ATTENTION, {scaled, x, x}, attrs);
    const llmh_tensor rows =
        test::add(graph, LLMH_OP_GATHER, {mixed, graph.add_input(LLMH_INPUT_OUTPUT_ROWS)});
    out = test::add(graph, LLMH_OP_LINEAR, {rows, table});
    graph.add_output(LLMH_OUTPUT_LOGITS, out);
    spec.struct_size = sizeof spec;
    spec.slot = 3;
    spec.n_kv_heads = 2;
    spec.k_head_dim = spec.v_head_dim = 4;
    std::mt19937 random(4);
    weights = test::random_floats(random, 7 * 8);
  }
  Graph graph;
  llmh_tensor table, out;
  llmh_state_spec spec{};
  std::vector<float> weights;
};

// What an engine holds for one program.
class Engine {
 public:
  Engine(const llmh_backend& backend, const Tiny& model, bool weights_outlive)
      : backend_(backend), model_(model) {
    llmh_open_args open{};
    open.struct_size = sizeof open;
    plugin::check(backend.open(&open, &instance_));
    const ArenaPlan plan = plan_arena(model.graph, limits_);
    const llmh_buffer_args arena{sizeof(llmh_buffer_args), LLMH_BUFFER_ARENA, plan.bytes};
    plugin::check(backend.buffer_alloc(instance_, &arena, &arena_));
    uint64_t page_bytes = 0;
    plugin::check(
        backend.state_page_bytes(instance_, &model.spec, LLMH_DTYPE_F16, StepData::kPageTokens, &page_bytes));
    const uint64_t state_bytes = page_bytes * 2 * StepData::kPagesPerSequence;
    const llmh_buffer_args state{sizeof(llmh_buffer_args), LLMH_BUFFER_STATE, state_bytes};
    plugin::check(backend.buffer_alloc(instance_, &state, &state_));

    llmh_weight_source source{};
    source.struct_size = sizeof source;
    source.dtype = LLMH_DTYPE_F32;
    source.rank = 2;
    source.data = model.weights.data();
    source.bytes = model.weights.size() * sizeof(float);
    source.data_outlives = weights_outlive ? 1 : 0;
    uint64_t weight_bytes = 1;
    plugin::check(backend.weight_bytes(instance_, &source, &weight_bytes));
    CHECK(weight_bytes == (weights_outlive ? 0 : source.bytes));
    plugin::check(backend.prepare_weight(instance_, &source, &weight_));

    std::vector<llmh_weight*> weights(model.graph.tensor_count(), nullptr);
    weights[static_cast<size_t>(model.table)] = weight_;
    const llmh_state_view view{sizeof(llmh_state_view), 3,          StepData::kPageTokens,
                               LLMH_DTYPE_F32,          page_bytes, {state_, 0, state_bytes}};
    const llmh_state_view* const views[] = {&view};
    llmh_compile_args args{};
    args.struct_size = sizeof args;
    args.n_states = 1;
    args.graph = &model.graph.view();
    args.limits = &limits_;
    args.weights = weights.data();
    args.arena_offsets = plan.offsets.data();
    args.arena = {arena_, 0, plan.bytes};
    args.states = views;
    plugin::check(backend.compile(instance_, &args, &program_));
    out_offset_ = plan.offsets[static_cast<size_t>(model.out)];
  }
  ~Engine() {
    backend_.release_program(instance_, program_);
    backend_.release_weight(instance_, weight_);
    backend_.buffer_free(instance_, state_);
    backend_.buffer_free(instance_, arena_);
    backend_.close(instance_);
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  std::vector<float> run(const StepData& data) {
    const llmh_step step = data.view();
    plugin::Call call;
    call.check(backend_.run(program_, &step, call.get()), "reference", "run");
    std::vector<float> logits(static_cast<size_t>(step.n_outputs) * 7);
    plugin::check(
        backend_.buffer_read(instance_, arena_, out_offset_, logits.data(), logits.size() * sizeof(float)));
    return logits;
  }

 private:
  const llmh_backend& backend_;
  const Tiny& model_;
  llmh_limits limits_{sizeof(llmh_limits), 16, 2, 2, 64, 0, 0};
  llmh_instance* instance_ = nullptr;
  llmh_buffer* arena_ = nullptr;
  llmh_buffer* state_ = nullptr;
  llmh_weight* weight_ = nullptr;
  llmh_program* program_ = nullptr;
  uint64_t out_offset_ = 0;
};

std::vector<float> expected_logits(const Tiny& model, test::SlotState& state, const StepData& data) {
  test::Run run(model.graph, data);
  return run.bind(state).set(model.table, model.weights).eval().floats(model.out);
}

void check_backend(const llmh_backend& backend, bool weights_outlive) {
  const Tiny model;
  Engine engine(backend, model, weights_outlive);
  test::SlotState state(3, 2, 4, 4, 2);
  for (const auto& [past, fresh] : std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>>{
           {{0, 0}, {5, 2}}, {{5, 2}, {1, 3}}, {{6, 5}, {1, 1}}}) {
    const StepData step(past, fresh);
    CHECK(engine.run(step) == expected_logits(model, state, step));
  }
}

TEST_CASE("the built-in reference backend gives the evaluator's bits") {
  check_backend(*reference_backend(), true);
  check_backend(*reference_backend(), false);
}

TEST_CASE("a backend with one op of its own runs it, and the rest in the evaluator") {
  reference_backend();  // sets the host table for errors
  const llmh_backend& backend = *llmh::SimpleBackendTable<own_device>::get();
  check_backend(backend, true);
  CHECK(own_calls == 3);
}

TEST_CASE("structs of an older side are read as far as they go, the rest is 0") {
  // What lies behind a shorter struct is somebody else's.
  llmh_limits limits{offsetof(llmh_limits, max_outputs), 16, 2, -1, -1, -1, -1};
  const llmh_limits copy = llmh::copy_struct(limits);
  CHECK(copy.max_tokens == 16);
  CHECK(copy.max_sequences == 2);
  CHECK(copy.max_outputs == 0);
  CHECK(copy.max_state == 0);
  CHECK(LLMH_HAS(&copy, max_sequences));
  CHECK_FALSE(LLMH_HAS(&copy, max_outputs));

  llmh_norm_attrs attrs{sizeof attrs, 0.5F, 1.0F, 0};
  llmh_node node{};
  node.struct_size = sizeof node;
  CHECK(llmh::node_attrs<llmh_norm_attrs>(node).eps == 0.0F);
  node.attrs = &attrs;
  node.attrs_size = sizeof attrs;
  CHECK(llmh::node_attrs<llmh_norm_attrs>(node).weight_offset == 1.0F);
  CHECK(llmh::node_attrs<llmh_scalar_attrs>(node).value == 0.5F);  // a reader that knows less
  attrs.struct_size = offsetof(llmh_norm_attrs, weight_offset);
  CHECK(llmh::node_attrs<llmh_norm_attrs>(node).eps == 0.5F);
  CHECK(llmh::node_attrs<llmh_norm_attrs>(node).weight_offset == 0.0F);
  attrs.struct_size = sizeof attrs;
  node.attrs_size = offsetof(llmh_norm_attrs, weight_offset);
  CHECK(llmh::node_attrs<llmh_norm_attrs>(node).weight_offset == 0.0F);
}

TEST_CASE("errors of the table and of a step") {
  const llmh_backend& backend = *reference_backend();
  uint32_t n = 0;
  plugin::check(backend.device_count(&n));
  CHECK(n == 1);
  llmh_device_info info{};
  info.struct_size = sizeof info;
  CHECK_THROWS_WITH_AS(plugin::check(backend.device_info(1, &info)),
                       doctest::Contains("there is one device, 0"), Error);
  plugin::check(backend.device_info(0, &info));
  CHECK(to_view(info.name) == "reference");
  llmh_open_args args{};
  args.struct_size = sizeof args;
  const llmh_option option = {to_str("thread"), to_str("4")};
  args.options = &option;
  args.n_options = 1;
  llmh_instance* instance = nullptr;
  CHECK_THROWS_WITH_AS(plugin::check(backend.open(&args, &instance)),
                       doctest::Contains("unknown option 'thread': this backend has none"), Error);
  const Tiny model;
  Engine engine(backend, model, true);
  StepData step({0}, {2});
  step.token_ids[1] = 7;
  CHECK_THROWS_WITH_AS(engine.run(step), doctest::Contains("gather: id 7 is outside the 7 rows"), Error);
}

}  // namespace
}  // namespace llmhost::graph
