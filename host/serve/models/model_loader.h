// Where a pool gets its models from: opened and planned first, then loaded. Behind an interface, so that the
// pool's rules can be tested without models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "serve/models/configuration.h"
#include "serve/models/served_model.h"

namespace llmhost::serve {

struct RunningModel {
  std::shared_ptr<ServedModel> model;
  // Ends its threads; what runs is cancelled. Not from one of its callbacks.
  std::function<void()> stop;
};

// A model that is opened but takes no memory to speak of yet.
class PlannedModel {
 public:
  using Progress = std::function<void(double share)>;  // 0 to 1

  virtual ~PlannedModel() = default;
  // What it will hold, all replicas and the room for adapters together.
  virtual uint64_t bytes() const = 0;
  virtual uint64_t adapter_bytes() const = 0;     // of them kept for adapters
  virtual engine::MemoryPlan memory() const = 0;  // of one replica
  // Once.
  virtual RunningModel load(const Progress& progress) = 0;
};

// One thread at a time.
class ModelLoader {
 public:
  virtual ~ModelLoader() = default;
  // `room`: bytes that the model may take at most; where the configuration leaves a choice it is made to fit.
  virtual std::unique_ptr<PlannedModel> plan(const ModelConfig& config, uint64_t room) = 0;
  // Bytes that models may take now; UINT64_MAX: unknown.
  virtual uint64_t free_memory() = 0;
};

}  // namespace llmhost::serve
