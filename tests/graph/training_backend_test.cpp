// A training step through the table of the built-in backend: parameters in memory of the host's choice,
// labels and dropout of the step.
#include <doctest/doctest.h>

#include "core/error.h"
#include "graph/emit.h"
#include "graph/lifetimes.h"
#include "graph_run.h"
#include "plugin/status.h"

namespace llmhost::graph {
namespace {

using test::constant_dims;
using test::StepData;

constexpr llmh_limits kLimits = {sizeof(llmh_limits), 16, 2, 16, 16, 0, 0};

// loss of dropout(table[ids]) against the labels; the rows' sum is added to `sum`.
struct Tiny {
  Graph graph;
  llmh_tensor table, sum, loss;

  Tiny() {
    Emit emit(graph, "");
    const int64_t table_shape[] = {7, 5};
    const int64_t sum_shape[] = {5};
    table = graph.add_parameter("table", table_shape, {});
    sum = graph.add_parameter("sum", sum_shape, {});
    auto attrs = make_attrs<llmh_dropout_attrs>();
    attrs.p = 0.5F;
    attrs.site = 1;
    const llmh_tensor rows = emit.gather(table, graph.add_input(LLMH_INPUT_TOKEN_IDS));
    const llmh_tensor dropped = emit.op(LLMH_OP_DROPOUT, {rows}, attrs);
    const llmh_tensor logits = emit.gather(dropped, graph.add_input(LLMH_INPUT_OUTPUT_ROWS));
    loss = emit.op(LLMH_OP_CROSS_ENTROPY, {logits, graph.add_input(LLMH_INPUT_LABELS)});
    graph.add_output(LLMH_OUTPUT_LOSS, loss);
    const llmh_tensor added[] = {sum, emit.reduce_to(dropped, constant_dims({5}))};
    graph.add_node(LLMH_OP_ACCUMULATE, "", added);
  }
};

class Program {
 public:
  Program(const Tiny& model, bool with_parameters) : model_(model), plan_(plan_arena(model.graph, kLimits)) {
    llmh_open_args open{};
    open.struct_size = sizeof open;
    plugin::check(api_.open(&open, &instance_));
    arena_ = allocate(plan_.bytes);
    parameters_ = allocate(kBytes);
    std::vector<llmh_range> ranges(model.graph.tensor_count());
    ranges[static_cast<size_t>(model.table)] = {parameters_, 0, 35 * sizeof(float)};
    ranges[static_cast<size_t>(model.sum)] = {parameters_, kSumAt, 5 * sizeof(float)};
    const std::vector<llmh_weight*> weights(model.graph.tensor_count(), nullptr);
    llmh_compile_args args{};
    args.struct_size = sizeof args;
    args.graph = &model.graph.view();
    args.limits = &kLimits;
    args.weights = weights.data();
    args.arena_offsets = plan_.offsets.data();
    args.arena = {arena_, 0, plan_.bytes};
    args.parameters = with_parameters ? ranges.data() : nullptr;
    plugin::check(api_.compile(instance_, &args, &program_));
  }
  ~Program() {
    if (program_ != nullptr) api_.release_program(instance_, program_);
    api_.buffer_free(instance_, arena_);
    api_.buffer_free(instance_, parameters_);
    api_.close(instance_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void set_table(const std::vector<float>& values) {
    plugin::check(api_.buffer_write(instance_, parameters_, 0, values.data(), values.size() * sizeof(float)));
  }
  std::vector<float> run(const StepData& data) {
    const llmh_step step = data.view();
    plugin::Call call;
    call.check(api_.run(program_, &step, call.get()), "reference", "run");
    return read(arena_, plan_.offsets[static_cast<size_t>(model_.loss)], data.output_rows.size());
  }
  std::vector<float> sum() const { return read(parameters_, kSumAt, 5); }

 private:
  static constexpr uint64_t kSumAt = 35 * sizeof(float) + 4;  // right behind, with one float between
  static constexpr uint64_t kBytes = kSumAt + 5 * sizeof(float);

  llmh_buffer* allocate(uint64_t bytes) {
    const llmh_buffer_args args{sizeof(llmh_buffer_args), LLMH_BUFFER_STATE, bytes};
    llmh_buffer* buffer = nullptr;
    plugin::check(api_.buffer_alloc(instance_, &args, &buffer));
    return buffer;
  }
  std::vector<float> read(llmh_buffer* buffer, uint64_t offset, size_t count) const {
    std::vector<float> values(count);
    plugin::check(api_.buffer_read(instance_, buffer, offset, values.data(), count * sizeof(float)));
    return values;
  }

  const llmh_backend& api_ = *reference_backend();
  const Tiny& model_;
  ArenaPlan plan_;
  llmh_instance* instance_ = nullptr;
  llmh_buffer* arena_ = nullptr;
  llmh_buffer* parameters_ = nullptr;
  llmh_program* program_ = nullptr;
};

TEST_CASE("steps of training read parameters as they are then, labels and the seed, and add to sums") {
  const Tiny model;
  Program program(model, true);
  std::mt19937 random(2);
  std::vector<float> expected_sum(5, 0.0F);
  for (const uint64_t seed : {0, 9, 10}) {
    StepData step({0, 0}, {4, 3});
    step.all_rows(5);
    step.dropout_seed = seed;
    const auto table = test::random_floats(random, 35);
    program.set_table(table);
    test::Run run(model.graph, step);
    run.set(model.table, table).set(model.sum, expected_sum).eval();
    CHECK(program.run(step) == run.floats(model.loss));
    expected_sum = run.floats(model.sum);
    CHECK(program.sum() == expected_sum);
  }
}

TEST_CASE("a program with parameters and no memory for them is refused") {
  const Tiny model;
  CHECK_THROWS_WITH_AS(Program(model, false), "plugin reference: tensor 'table' has no place", Error);
}

}  // namespace
}  // namespace llmhost::graph
