#include "engine/model_stack.h"

#include <string_view>
#include <utility>

#include "core/error.h"
#include "engine/memory_plan.h"
#include "graph/decompose.h"
#include "graph/fuse.h"
#include "graph/lifetimes.h"
#include "graph/reference.h"
#include "model/weights.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::engine {
namespace {

uint32_t precision(const Settings& settings, RunUse use) {
  const std::string& name = settings.get_string("engine.precision");
  const bool is_native = name == "native" || (name == "auto" && use == RunUse::kGeneration);
  return is_native ? LLMH_PRECISION_NATIVE : LLMH_PRECISION_F32;
}

DeviceOptions device_options(const Settings& settings, RunUse use) {
  DeviceOptions options;
  options.precision = precision(settings, use);
  options.device = static_cast<uint32_t>(settings.get_int("backend.device"));
  for (const std::string& option : settings.get_list("backend.options")) {
    const size_t equals = option.find('=');
    if (equals == 0 || equals == std::string::npos)
      throw UsageError(fmt::format("backend.options: '{}' is not of the form key=value", option));
    options.options.emplace_back(option.substr(0, equals), option.substr(equals + 1));
  }
  return options;
}

ThreadPoolOptions pool_options(const Settings& settings) {
  ThreadPoolOptions options;
  options.n_threads = static_cast<int32_t>(settings.get_int("engine.threads"));
  options.spin_us = settings.get_int("engine.spin_us");
  options.pin = settings.get_bool("engine.pin_threads");
  return options;
}

const llmh_backend& find_backend(const plugin::Registry& registry, const std::string& name) {
  if (name == kReferenceBackend) return *graph::reference_backend();
  return plugin::backend(registry.require(plugin::Kind::kBackend, name));
}

// The lowered graph, once the memory for running it is known to be there: better a refusal with both numbers
// than a process that the system kills.
graph::Graph planned_graph(const model::LoadedModel& model, const Device& device,
                           const RunnerOptions& options) {
  options.validate();
  graph::Graph lowered = lower_graph(model, device);
  const MemoryPlan plan = plan_memory(model, lowered, device, options);
  if (device.memory_free() > 0 && plan.allocated() > device.memory_free())
    throw_error(
        ErrorCode::kResourceExhausted,
        "the model needs {} bytes for its state, activations and converted weights, {} are free on {}; "
        "lower engine.context, engine.sequences or engine.batch_tokens",
        plan.allocated(), device.memory_free(), device.name());
  return lowered;
}

}  // namespace

llmh_dtype kv_dtype(const Settings& settings, RunUse use) {
  const std::string& name = settings.get_string("engine.kv_dtype");
  if (name == "f32") return LLMH_DTYPE_F32;
  if (name == "f16") return LLMH_DTYPE_F16;
  if (name == "bf16") return LLMH_DTYPE_BF16;
  if (name == "q8_0") return LLMH_DTYPE_Q8_0;
  return use == RunUse::kLogits ? LLMH_DTYPE_F32 : LLMH_DTYPE_F16;
}

HostDevice::HostDevice(const plugin::Registry& registry, const Settings& settings, RunUse use)
    : pool_(pool_options(settings)) {
  plugin::register_host_extension(LLMH_REFERENCE_EXTENSION, graph::reference_extension());
  const std::string& name = settings.get_string("backend.name");
  device_ = std::make_unique<Device>(find_backend(registry, name), name, device_options(settings, use),
                                     pool_.api());
}

graph::Graph lower_graph(const model::LoadedModel& model, const Device& device) {
  const auto supports = [&](const graph::Graph& graph, uint32_t node) {
    return device.api().supports(device.instance(), &graph.view(), node) == 1;
  };
  graph::Graph lowered = graph::decompose(graph::fuse(model.graph(), supports), supports);
  const uint32_t bad = graph::first_unsupported(lowered, supports);
  if (bad < lowered.node_count()) {
    const llmh_node& node = lowered.node(bad);
    throw_error(ErrorCode::kUnimplemented, "backend '{}' does not run the op {} at '{}'", device.plugin_id(),
                graph::op_name(node.op), graph::to_view(node.path));
  }
  return lowered;
}

DeviceWeights::DeviceWeights(const model::LoadedModel& model, const graph::Graph& graph, const Device& device)
    : device_(device), weights_(graph.tensor_count(), nullptr) {
  try {
    prepare(model, graph);
  } catch (...) {
    release();  // those before the one that failed
    throw;
  }
}

DeviceWeights::~DeviceWeights() {
  release();
}

void DeviceWeights::prepare(const model::LoadedModel& model, const graph::Graph& graph) {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.prepare_weight");
  for (const model::GraphWeight& weight : model.weights_of(graph)) {
    model::WeightData data = model::load_weight(*weight.source, weight.uses);
    const llmh_weight_source source =
        model::weight_source(weight.name, *weight.source, weight.uses, data.bytes.data(), data.bytes.size());
    plugin::check(device_.api().prepare_weight(device_.instance(), &source,
                                               &weights_[static_cast<size_t>(weight.tensor)]),
                  weight.name);
    if (!data.owned.empty()) copies_.push_back(std::move(data.owned));
  }
}

void DeviceWeights::release() {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.release_weight");
  for (llmh_weight* weight : weights_)
    if (weight != nullptr) device_.api().release_weight(device_.instance(), weight);
}

ModelStack::ModelStack(const model::LoadedModel& model, const Device& device, const RunnerOptions& options)
    : model_(model), graph_(planned_graph(model, device, options)), weights_(model, graph_, device) {
  const graph::ArenaPlan arena = graph::plan_arena(graph_, options.limits());
  const RunnerModel to_run{&graph_.view(), weights_.by_tensor(), model.states(), arena.offsets, arena.bytes};
  runner_ = std::make_unique<ModelRunner>(device, to_run, options);
}

}  // namespace llmhost::engine
