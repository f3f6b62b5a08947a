// An opened device of a backend, with the thread pool that it works on. The backend is a plugin, or
// "reference": the built-in slow one that the others are tested against.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/thread_pool.h"
#include "graph/graph.h"
#include "llmhost/backend.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::engine {

struct DeviceOptions {
  std::string backend = "cpu";
  uint32_t device = 0;
  int32_t threads = 0;               // 0: all cores
  std::vector<std::string> options;  // "key=value", for the backend
};

DeviceOptions device_options(const Settings& settings);

// Closed when destroyed; whatever was made from it must be gone by then.
class Device {
 public:
  Device(const plugin::Registry& registry, const DeviceOptions& options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const llmh_backend& backend() const { return *backend_; }
  llmh_instance* instance() const { return instance_; }
  const std::string& id() const { return id_; }      // of the backend
  const std::string& name() const { return name_; }  // of the device
  const ThreadPool& threads() const { return *pool_; }

  bool supports(const graph::Graph& graph, uint32_t node) const;

 private:
  void open(const DeviceOptions& options);

  std::string id_;
  std::string name_;
  std::unique_ptr<ThreadPool> pool_;
  const llmh_backend* backend_ = nullptr;
  llmh_instance* instance_ = nullptr;
};

// The architecture's graph as this device runs it: unsupported ops decomposed, supported fusions made, dead
// nodes gone.
graph::Graph lower_graph(const model::LoadedModel& model, const Device& device);

}  // namespace llmhost::engine
