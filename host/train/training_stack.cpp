#include "train/training_stack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "core/error.h"
#include "model/weights.h"
#include "train/parallel.h"
#include "train/parameter_memory.h"
#include "train/step_arrays.h"
#include "train/trained_files.h"
#include "train/training_graph.h"
#include "train/training_program.h"
#include "train/training_weights.h"

namespace llmhost::train {
namespace {

std::vector<uint64_t> counts_of(const TrainingLayout& layout) {
  std::vector<uint64_t> counts;
  for (const auto& shape : layout.shapes) counts.push_back(model::element_count(shape));
  return counts;
}

TrainingLayout layout_of(const model::LoadedModel& model, const engine::Device& device, Method& method,
                         const TrainingOptions& options) {
  return {model,
          device,
          method,
          training_limits(options.max_tokens, options.max_sequences),
          {options.checkpoint_layers, options.saved_dtype}};
}

constexpr uint64_t kEncodedPiece = uint64_t{1} << 22;  // elements

// What writing the result takes besides: of a whole model a tensor three times, as it was stored and
// with other values in the order of the graph and of the file, and a piece of it encoded; of an adapter its
// tensors.
uint64_t output_bytes(const Method& method, const std::vector<uint64_t>& counts) {
  uint64_t largest = 0, sum = 0;
  for (const uint64_t count : counts) {
    largest = std::max(largest, count);
    sum += count;
  }
  return sizeof(float) * (method.config_json().empty() ? 3 * largest + kEncodedPiece : sum);
}

TrainingMemory memory_of(const model::LoadedModel& model, const engine::Device& device, Method& method,
                         const TrainingLayout& layout) {
  TrainingMemory memory;
  memory.weights = TrainingWeights::bytes(model, device, method.base_weights(model), layout.train.graph);
  memory.parameters = memory.gradients = ParameterMemory::bytes(counts_of(layout));
  memory.activations = std::max(layout.train.arena.bytes, layout.eval.arena.bytes);
  memory.scratch = std::max(layout.train.scratch_bytes, layout.eval.scratch_bytes);
  memory.output = output_bytes(method, counts_of(layout));
  return memory;
}

}  // namespace

// In the order of construction: what is below uses what is above.
struct TrainingStack::Parts {
  const model::LoadedModel& model;
  const engine::Device& device;
  Method& method;
  TrainingOptions options;
  TrainingLayout layout;
  TrainingMemory planned;
  ParameterMemory parameters;
  engine::DeviceBuffer arena;
  engine::DeviceBuffer scratch;
  TrainingWeights weights;
  TrainingProgram train;
  TrainingProgram eval;
  std::vector<TrainedValue> trained;
  StepArrays arrays;

  // Logits, made when they are first asked for and again for longer sequences.
  struct Logits {
    LoweredGraph lowered;
    engine::DeviceBuffer arena;
    engine::DeviceBuffer scratch;
    std::optional<TrainingProgram> program;
  };
  std::unique_ptr<Logits> logits;

  Parts(const model::LoadedModel& of, const engine::Device& on, Method& with, const TrainingOptions& wanted)
      : model(of),
        device(on),
        method(with),
        options(wanted),
        layout(layout_of(of, on, with, wanted)),
        planned(memory_of(of, on, with, layout)),
        parameters(on, layout.trained, counts_of(layout)),
        arena(on, planned.activations, LLMH_BUFFER_ARENA, "activations"),
        scratch(on, planned.scratch, LLMH_BUFFER_SCRATCH, "scratch"),
        weights(of, on, with.base_weights(of)),
        train(on, layout.train, memory_for(layout.train.graph, arena, scratch)),
        eval(on, layout.eval, memory_for(layout.eval.graph, arena, scratch)) {
    start_values();
  }

  TrainingProgram::Memory memory_for(const graph::Graph& graph, const engine::DeviceBuffer& in,
                                     const engine::DeviceBuffer& with_scratch) {
    return {weights.of(graph), parameters.ranges(graph), in, with_scratch};
  }

  void start_values() {
    for (size_t i = 0; i < layout.trained.size(); ++i) {
      const std::string& parameter = layout.trained[i];
      const auto from =
          std::ranges::find(layout.tuned.from_weights, parameter, &Method::Tuned::FromWeight::parameter);
      const bool is_weight = from != layout.tuned.from_weights.end();
      TrainedValue value;
      value.name = is_weight ? from->name : parameter;
      value.file_name = method.file_name(value.name);
      if (is_weight && parameter == from->weight) value.weight = from->weight;
      if (is_weight) value.is_transposed = is_stored_transposed(model.tensors().at(from->weight));
      value.shape = layout.shapes[i];
      value.value = parameters.value(i);
      value.gradient = parameters.gradient(i);
      if (is_weight)
        take_weight(from->weight, value.value);
      else
        init_parameter(layout.tuned.graph.parameter_init(layout.tuned.graph.find(parameter)), parameter,
                       value.shape, options.init_seed, value.value);
      trained.push_back(std::move(value));
    }
  }

  void take_weight(const std::string& weight, std::span<float> out) const {
    const model::WeightData data = model::load_weight(model.tensors().at(weight), LLMH_USE_VECTOR);
    if (data.bytes.size() != out.size_bytes())
      throw_error(ErrorCode::kInternal, "weight '{}' has {} bytes in f32, {} are trained", weight,
                  data.bytes.size(), out.size_bytes());
    std::memcpy(out.data(), data.bytes.data(), data.bytes.size());
    model::drop_stored(model.tensors().at(weight));
  }

  // The sum over the rows of the last step, in their order.
  static double loss_of(const TrainingProgram& program) {
    double sum = 0;
    for (const float row : program.output(LLMH_OUTPUT_LOSS)) sum += static_cast<double>(row);
    return sum;
  }

  void prepare_logits(int64_t n) {
    if (logits != nullptr && logits->lowered.limits.max_tokens >= n) return;
    logits.reset();
    auto fresh = std::make_unique<Logits>();
    const int64_t room = std::min(options.max_tokens, std::max<int64_t>(64, 2 * n));
    fresh->lowered = lower_training(graph::with_training_loss(layout.tuned.graph, true), device,
                                    training_limits(std::max(room, n), 1));
    // Between steps theirs are free, and mostly large enough.
    const bool shares =
        fresh->lowered.arena.bytes <= planned.activations && fresh->lowered.scratch_bytes <= planned.scratch;
    if (!shares) {
      fresh->arena =
          engine::DeviceBuffer(device, fresh->lowered.arena.bytes, LLMH_BUFFER_ARENA, "activations");
      fresh->scratch =
          engine::DeviceBuffer(device, fresh->lowered.scratch_bytes, LLMH_BUFFER_SCRATCH, "scratch");
    }
    fresh->program.emplace(
        device, fresh->lowered,
        memory_for(fresh->lowered.graph, shares ? arena : fresh->arena, shares ? scratch : fresh->scratch));
    logits = std::move(fresh);
  }
};

TrainingStack::TrainingStack(const model::LoadedModel& model, const engine::Device& device, Method& method,
                             const TrainingOptions& options)
    : parts_(std::make_unique<Parts>(model, device, method, options)) {}

TrainingStack::~TrainingStack() = default;

TrainingStack::Plan TrainingStack::plan(const model::LoadedModel& model, const engine::Device& device,
                                        Method& method, const TrainingOptions& options) {
  TrainingLayout layout = layout_of(model, device, method, options);
  return {memory_of(model, device, method, layout), std::move(layout.shapes)};
}

TrainingMemory TrainingStack::memory() const {
  return parts_->planned;
}

std::span<const TrainedValue> TrainingStack::trained() const {
  return parts_->trained;
}

void TrainingStack::load_values(const std::filesystem::path& path) {
  read_values(path, parts_->trained);
}

void TrainingStack::zero_gradients() {
  const std::span<float> all = parts_->parameters.all_gradients();
  for_ranges(parts_->device.pool(), all.size(),
             [&](size_t begin, size_t end) { std::fill(all.data() + begin, all.data() + end, 0.0F); });
}

double TrainingStack::accumulate(MicroBatch batch, uint64_t dropout_seed) {
  Parts& parts = *parts_;
  parts.arrays.fill(batch, parts.layout.train.limits, parts.model.info().vocab_size);
  if (parts.arrays.n_outputs() == 0) return 0;
  parts.train.run(parts.arrays.step(dropout_seed));
  const double sum = Parts::loss_of(parts.train);
  if (!std::isfinite(sum)) throw NonFiniteError("loss");
  return sum;
}

double TrainingStack::loss(MicroBatch batch) {
  Parts& parts = *parts_;
  parts.arrays.fill(batch, parts.layout.eval.limits, parts.model.info().vocab_size);
  if (parts.arrays.n_outputs() == 0) return 0;
  parts.eval.run(parts.arrays.step(0));
  const double sum = Parts::loss_of(parts.eval);
  if (!std::isfinite(sum)) throw NonFiniteError("loss");
  return sum;
}

std::vector<float> TrainingStack::logits(std::span<const int32_t> ids) {
  Parts& parts = *parts_;
  if (ids.empty()) return {};
  parts.prepare_logits(static_cast<int64_t>(ids.size()));
  parts.arrays.fill_all_rows(ids, parts.model.info().vocab_size);
  parts.logits->program->run(parts.arrays.step(0));
  const std::span<const float> rows = parts.logits->program->output(LLMH_OUTPUT_LOGITS);
  return {rows.begin(), rows.end()};
}

}  // namespace llmhost::train
