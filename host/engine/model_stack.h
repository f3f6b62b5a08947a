// Everything between a model path and logits: thread pool, device, lowered graph, weights on the device,
// runner. What the commands, the server and the trainer stand on.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "core/config.h"
#include "core/thread_pool.h"
#include "engine/device.h"
#include "engine/runner.h"
#include "engine/weight_cache.h"
#include "graph/adapter_sites.h"
#include "graph/graph.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::engine {

// The built-in slow backend that the others are tested against.
inline constexpr const char* kReferenceBackend = "reference";

// What a model is run for: settings that are "auto" are exact for logits that are compared, fast for
// generation.
enum class RunUse { kLogits, kGeneration };

// The element type that engine.kv_dtype asks for.
llmh_dtype kv_dtype(const Settings& settings, RunUse use);

// A device with the pool that it works on. Not movable: the device points at the pool.
class HostDevice {
 public:
  // Settings backend.*, engine.threads, engine.spin_us, engine.pin_threads and engine.precision.
  HostDevice(const plugin::Registry& registry, const Settings& settings, RunUse use);
  const Device& device() const { return *device_; }
  ThreadPool& threads() { return pool_; }

 private:
  ThreadPool pool_;
  std::unique_ptr<Device> device_;
};

// The architecture's graph as this device runs it: supported fusions made, unsupported ops decomposed. Throws
// when an op stays that the device does not run. With `sites` every module that adapters can change becomes a
// site, and all modules are listed there.
graph::Graph lower_graph(const model::LoadedModel& model, const Device& device,
                         std::vector<graph::AdapterSite>* sites = nullptr);

// A model's weights in the device's layout; given back when destroyed. Model and device must outlive it.
class DeviceWeights {
 public:
  DeviceWeights(const model::LoadedModel& model, const graph::Graph& graph, const Device& device);
  ~DeviceWeights();
  DeviceWeights(const DeviceWeights&) = delete;
  DeviceWeights& operator=(const DeviceWeights&) = delete;

  std::span<llmh_weight* const> by_tensor() const { return weights_; }  // [n_tensors] of the graph

 private:
  void prepare(const model::LoadedModel& model, const graph::Graph& graph);
  void prepare(const model::GraphWeight& weight);
  llmh_weight* adopt(const model::GraphWeight& weight);
  void release();

  const Device& device_;
  WeightCache cache_;
  std::vector<llmh_weight*> weights_;
  std::vector<std::vector<std::byte>> copies_;  // what the device uses in place and the mapping does not hold
};

// A model on a device, ready to run. The model and the device must outlive it.
class ModelStack {
 public:
  ModelStack(const model::LoadedModel& model, const Device& device, const RunnerOptions& options);
  ModelRunner& runner() { return *runner_; }
  const ModelRunner& runner() const { return *runner_; }
  const model::LoadedModel& model() const { return model_; }
  const Device& device() const { return device_; }
  // All modules with weights, those that adapters can change as sites; empty when max_adapter_rank is 0.
  const std::vector<graph::AdapterSite>& adapter_sites() const { return sites_; }

 private:
  const model::LoadedModel& model_;
  const Device& device_;
  std::vector<graph::AdapterSite> sites_;
  graph::Graph graph_;
  DeviceWeights weights_;
  std::unique_ptr<ModelRunner> runner_;
};

}  // namespace llmhost::engine
