#include "engine/model_stack.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/paths.h"
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
  const std::string& cache = settings.get_string("engine.weight_cache");
  if (cache == "auto")
    options.weight_cache = (cache_dir() / "weights").string();
  else if (cache != "off")
    options.weight_cache = cache;
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

constexpr uint64_t kReadAhead = uint64_t{64} << 20;  // bytes of the files

const llmh_backend& find_backend(const plugin::Registry& registry, const std::string& name) {
  if (name == kReferenceBackend) return *graph::reference_backend();
  return plugin::backend(registry.require(plugin::Kind::kBackend, name));
}

// The lowered graph, once the memory for running it is known to be there: better a refusal with both numbers
// than a process that the system kills.
graph::Graph planned_graph(const model::LoadedModel& model, const Device& device,
                           const RunnerOptions& options, std::vector<graph::AdapterSite>& sites) {
  options.validate();
  graph::Graph lowered = lower_graph(model, device, options.max_adapter_rank > 0 ? &sites : nullptr);
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

graph::Graph lower_graph(const model::LoadedModel& model, const Device& device,
                         std::vector<graph::AdapterSite>* sites) {
  const auto supports = [&](const graph::Graph& graph, uint32_t node) {
    return device.api().supports(device.instance(), &graph.view(), node) == 1;
  };
  graph::Graph with_sites;
  if (sites != nullptr) {
    require_adapters(device);
    with_sites = graph::with_adapter_sites(
        model.graph(), [](const graph::AdapterSite&) { return true; }, *sites);
  }
  const graph::Graph& whole = sites != nullptr ? with_sites : model.graph();
  graph::Graph lowered = graph::decompose(graph::fuse(whole, supports), supports);
  const uint32_t bad = graph::first_unsupported(lowered, supports);
  if (bad < lowered.node_count()) {
    const llmh_node& node = lowered.node(bad);
    throw_error(ErrorCode::kUnimplemented, "backend '{}' does not run the op {} at '{}'", device.plugin_id(),
                graph::op_name(node.op), graph::to_view(node.path));
  }
  return lowered;
}

DeviceWeights::DeviceWeights(const model::LoadedModel& model, const graph::Graph& graph, const Device& device)
    : device_(device), cache_(model, device), weights_(graph.tensor_count(), nullptr) {
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

// In the order of the files, which are read ahead of what is prepared.
void DeviceWeights::prepare(const model::LoadedModel& model, const graph::Graph& graph) {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.prepare_weight");
  std::vector<model::GraphWeight> weights = model.weights_of(graph);
  std::stable_sort(weights.begin(), weights.end(), [](const auto& a, const auto& b) {
    return std::less<>()(a.source->first().bytes.data(), b.source->first().bytes.data());
  });
  uint64_t bytes_ahead = 0;
  auto expected = weights.begin();
  for (const model::GraphWeight& weight : weights) {
    for (; expected != weights.end() && bytes_ahead < kReadAhead; ++expected) {
      if (!cache_.has_file()) model::expect_stored(*expected->source);
      bytes_ahead += expected->source->stored_bytes();
    }
    prepare(weight);
    bytes_ahead -= weight.source->stored_bytes();
  }
  cache_.store();
}

// What the device keeps in a layout of its own is in memory once: neither the file's pages nor the host's
// copy stay. A table may be looked up in the source besides.
void DeviceWeights::prepare(const model::GraphWeight& weight) {
  llmh_weight*& prepared = weights_[static_cast<size_t>(weight.tensor)];
  prepared = adopt(weight);
  if (prepared != nullptr) return;
  model::WeightData data = model::load_weight(*weight.source, weight.uses);
  llmh_weight_source source =
      model::weight_source(weight.name, *weight.source, weight.uses, data.bytes.data(), data.bytes.size());
  uint64_t kept_by_device = 0;
  plugin::check(device_.api().weight_bytes(device_.instance(), &source, &kept_by_device), weight.name);
  const bool is_copy = !data.owned.empty();
  const bool drops_copy = is_copy && kept_by_device > 0 && (weight.uses & LLMH_USE_TABLE) == 0;
  if (drops_copy) source.data_outlives = 0;
  if (!is_copy) source.flags = LLMH_SOURCE_MAPPED;
  plugin::check(device_.api().prepare_weight(device_.instance(), &source, &prepared), weight.name);
  cache_.add(weight, source, prepared);
  if (is_copy && !drops_copy) copies_.push_back(std::move(data.owned));
  if (is_copy || kept_by_device > 0) model::drop_stored(*weight.source);
}

// The weight as it was laid out at an earlier start, without reading what is stored; null when it was not
// kept.
llmh_weight* DeviceWeights::adopt(const model::GraphWeight& weight) {
  const uint64_t copied = model::copied_bytes(*weight.source, weight.uses);
  const bool is_table = (weight.uses & LLMH_USE_TABLE) != 0;
  if (copied > 0 && is_table) return nullptr;
  const std::span<const std::byte> stored =
      copied == 0 ? model::load_weight(*weight.source, weight.uses).bytes : std::span<const std::byte>();
  const llmh_weight_source source = model::weight_source(weight.name, *weight.source, weight.uses,
                                                         stored.data(), copied > 0 ? copied : stored.size());
  return cache_.adopt(weight, source);
}

void DeviceWeights::release() {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.release_weight");
  for (llmh_weight* weight : weights_)
    if (weight != nullptr) device_.api().release_weight(device_.instance(), weight);
}

ModelStack::ModelStack(const model::LoadedModel& model, const Device& device, const RunnerOptions& options)
    : model_(model),
      device_(device),
      graph_(planned_graph(model, device, options, sites_)),
      weights_(model, graph_, device) {
  const graph::ArenaPlan arena = graph::plan_arena(graph_, options.limits());
  const RunnerModel to_run{&graph_.view(), weights_.by_tensor(), model.states(),
                           arena.offsets,  arena.bytes,          &model};
  runner_ = std::make_unique<ModelRunner>(device, to_run, options);
}

}  // namespace llmhost::engine
