#include "check/training_suite.h"

#include <algorithm>
#include <cstring>

#include "check/bench.h"
#include "check/child.h"
#include "check/expected.h"
#include "check/op_suite.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "graph/lifetimes.h"
#include "graph/op_registry.h"
#include "graph/reference.h"
#include "plugin/host_table.h"

namespace llmhost::check {
namespace {

using graph::Graph;

constexpr int64_t kVocabulary = 64;
constexpr llmh_limits kLimits = {sizeof(llmh_limits), 16, 4, 16, 16, 0, 0};
constexpr int32_t kFirstKept = 1000;  // output kinds of our own: results live to the end

// Sequences of 6, 1 and 4 tokens; every row but the first of each is an output, one of them without label.
struct TrainingStep {
  engine::StepBatch batch{kLimits, 1};
  std::vector<int32_t> labels;
  llmh_step view{};

  explicit TrainingStep(uint64_t seed) {
    const int32_t pages[] = {0};
    int32_t n = 0;
    for (const int32_t tokens : {6, 1, 4}) {
      batch.begin_sequence(0, pages);
      for (int32_t i = 0; i < tokens; ++i, ++n)
        if (batch.add_token(n * 13 % static_cast<int32_t>(kVocabulary), tokens, i > 0) >= 0)
          labels.push_back(i == 3 ? -100 : n * 7 % static_cast<int32_t>(kVocabulary));
    }
    view = batch.step();
    view.labels = labels.data();
    view.dropout_seed = seed;
  }
};

// One lowered graph on a device.
class TrainingBench {
 public:
  TrainingBench(const engine::Device& device, const Graph& source,
                const std::map<std::string, std::vector<float>>& values)
      : device_(device), graph_(lowered(source, device)), plan_(graph::plan_arena(graph_, kLimits)) {
    arena_ = engine::DeviceBuffer(device, std::max<uint64_t>(plan_.bytes, 64), LLMH_BUFFER_ARENA, "arena");
    place_parameters(values);
    compile();
  }
  ~TrainingBench() {
    at("release_program");
    device_.api().release_program(device_.instance(), program_);
  }
  TrainingBench(const TrainingBench&) = delete;
  TrainingBench& operator=(const TrainingBench&) = delete;

  void run(const llmh_step& step) {
    at("run");
    const int32_t code = device_.api().run(program_, &step, call_.get());
    if (code != LLMH_OK) call_.check(code, device_.plugin_id(), "running a step");
  }

  // The results one after another, then all parameters.
  std::vector<float> read(const llmh_step& step) const {
    std::vector<float> all;
    const llmh_graph& view = graph_.view();
    for (uint32_t i = 0; i < view.n_outputs; ++i) {
      const auto tensor = static_cast<size_t>(view.outputs[i]->tensor);
      const auto count = graph::element_count(graph::dims_of(*view.tensors[tensor]), graph::values_of(step));
      append(all, arena_, plan_.offsets[tensor], static_cast<size_t>(count));
    }
    append(all, parameters_, 0, static_cast<size_t>(parameters_.bytes() / sizeof(float)));
    return all;
  }

 private:
  void append(std::vector<float>& all, const engine::DeviceBuffer& buffer, uint64_t offset,
              size_t count) const {
    const size_t before = all.size();
    all.resize(before + count);
    at("buffer_read");
    if (count > 0)
      plugin::check(device_.api().buffer_read(device_.instance(), buffer.get(), offset, all.data() + before,
                                              count * sizeof(float)),
                    "buffer_read");
  }

  // Each at a multiple of 64 bytes.
  void place_parameters(const std::map<std::string, std::vector<float>>& values) {
    ranges_.resize(graph_.tensor_count());
    uint64_t bytes = 0;
    std::map<std::string, uint64_t> offsets;
    for (const auto& [name, floats] : values) {
      offsets[name] = bytes;
      bytes += (floats.size() * sizeof(float) + 63) / 64 * 64;
    }
    parameters_ =
        engine::DeviceBuffer(device_, std::max<uint64_t>(bytes, 64), LLMH_BUFFER_STATE, "parameters");
    for (const auto& [name, floats] : values) {
      at("buffer_write");
      plugin::check(device_.api().buffer_write(device_.instance(), parameters_.get(), offsets[name],
                                               floats.data(), floats.size() * sizeof(float)),
                    "buffer_write");
      const llmh_tensor tensor = graph_.find(name);
      if (tensor != LLMH_NO_TENSOR)
        ranges_[static_cast<size_t>(tensor)] =
            parameters_.range(offsets[name], floats.size() * sizeof(float));
    }
  }

  void compile() {
    const std::vector<llmh_weight*> weights(graph_.tensor_count(), nullptr);
    uint64_t scratch_bytes = 0;
    at("scratch_bytes");
    plugin::check(device_.api().scratch_bytes(device_.instance(), &graph_.view(), &kLimits, &scratch_bytes),
                  "scratch_bytes");
    scratch_ =
        engine::DeviceBuffer(device_, std::max<uint64_t>(scratch_bytes, 64), LLMH_BUFFER_SCRATCH, "scratch");
    llmh_compile_args args{};
    args.struct_size = sizeof args;
    args.graph = &graph_.view();
    args.limits = &kLimits;
    args.weights = weights.data();
    args.arena_offsets = plan_.offsets.data();
    args.arena = arena_.whole();
    args.scratch = scratch_.range(0, scratch_bytes);
    args.parameters = ranges_.data();
    at("compile");
    plugin::check(device_.api().compile(device_.instance(), &args, &program_), "compile");
  }

  const engine::Device& device_;
  Graph graph_;
  graph::ArenaPlan plan_;
  engine::DeviceBuffer arena_;
  engine::DeviceBuffer scratch_;
  engine::DeviceBuffer parameters_;
  std::vector<llmh_range> ranges_;
  llmh_program* program_ = nullptr;
  plugin::Call call_;
};

// Two steps: sums go on from what they were.
std::vector<float> run_on(const engine::Device& device, const TrainingInputs& inputs) {
  TrainingBench bench(device, inputs.graph, inputs.parameters);
  std::vector<float> all;
  for (const uint64_t seed : {1234567, 0}) {
    const TrainingStep step(seed);
    bench.run(step.view);
    const auto values = bench.read(step.view);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// Whether the backend runs the op of the last node: itself, or its parts.
bool claims(const engine::Device& device, const TrainingInputs& inputs, llmh_op op) {
  try {
    lowered(inputs.graph, device);
    return true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnimplemented) throw;
  }
  const uint32_t last = inputs.graph.node_count() - 1;
  if (device.api().supports(device.instance(), &inputs.graph.view(), last) == 1)
    throw_error(ErrorCode::kInternal, "the backend runs {} and not the ops that feed it", graph::op_name(op));
  return false;
}

}  // namespace

std::vector<float> TrainingInputs::values(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return fixed_values(n, ++seed_);
}

llmh_tensor TrainingInputs::constant(const std::vector<int64_t>& shape) {
  const auto data = values(shape);
  return graph.add_constant({}, LLMH_DTYPE_F32, shape, std::as_bytes(std::span(data)));
}

llmh_tensor TrainingInputs::parameter(const std::vector<int64_t>& shape) {
  const std::string name = fmt::format("parameter.{}", parameters.size());
  parameters[name] = values(shape);
  return graph.add_parameter(name, shape, {});
}

llmh_tensor TrainingInputs::rows(int64_t width) {
  return node(LLMH_OP_EMBEDDING, {constant({kVocabulary, width}), graph.add_input(LLMH_INPUT_TOKEN_IDS)})[0];
}

llmh_tensor TrainingInputs::outputs(int64_t width) {
  return node(LLMH_OP_GATHER, {rows(width), graph.add_input(LLMH_INPUT_OUTPUT_ROWS)})[0];
}

llmh_tensor TrainingInputs::chosen(int64_t of, int32_t k) {
  auto attrs = graph::make_attrs<llmh_top_k_attrs>();
  attrs.k = k;
  return node(LLMH_OP_TOP_K, {rows(of)}, attrs)[1];
}

std::vector<llmh_tensor> TrainingInputs::node(llmh_op op, const std::vector<llmh_tensor>& inputs) {
  return graph.add_node(op, {}, inputs);
}

std::string run_training_case(const TrainingCase& op, const llmh_backend& backend,
                              const std::string& backend_id) {
  plugin::register_host_extension(LLMH_REFERENCE_EXTENSION, graph::reference_extension());
  ThreadPool pool(2);
  TrainingInputs inputs;
  const auto results = op.build(inputs);
  for (size_t i = 0; i < results.size(); ++i)
    inputs.graph.add_output(kFirstKept + static_cast<int32_t>(i), results[i]);
  const engine::Device device(backend, backend_id, {}, pool.api());
  if (!claims(device, inputs, op.op))
    throw Skipped{fmt::format("the backend does not run {}", graph::op_name(op.op))};
  at("the op on the reference evaluator");
  const engine::Device reference(*graph::reference_backend(), engine::kReferenceBackend, {}, nullptr);
  const std::vector<float> expected = run_on(reference, inputs);
  const std::vector<float> actual = run_on(device, inputs);
  // Sums of up to 64 products of numbers below 1: f32 rounds them to a few 1e-6.
  const double allowed = 1e-4 * std::max(1.0, standard_deviation(expected));
  const Difference off = largest_difference(actual, expected);
  if (actual.size() != expected.size() || !(off.largest <= allowed))
    throw_error(ErrorCode::kInternal,
                "value {} of {} is {}, off by {:.3g} from the reference evaluator's {}, allowed {:.3g}",
                off.index, expected.size(), actual[off.index], off.largest, expected[off.index], allowed);
  return fmt::format("off by {:.3g}", off.largest);
}

}  // namespace llmhost::check
