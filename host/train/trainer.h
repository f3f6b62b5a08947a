// A fine-tuning run: data, steps, evaluations, checkpoints, and at the end the adapter or model.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "engine/device.h"
#include "model/loader.h"
#include "plugin/registry.h"
#include "train/events.h"
#include "train/job.h"
#include "train/training_stack.h"

namespace llmhost::train {

enum class Outcome {
  kFinished,     // the output is there
  kInterrupted,  // a checkpoint is there; to be resumed
};

struct TrainerHooks {
  TrainingListener* listener = nullptr;         // may be null
  const std::atomic<bool>* stop = nullptr;      // set: checkpoint after the running step and return
  std::function<void()> between_micro_batches;  // yields to others; may be empty
};

class Trainer {
 public:
  // Loads data and opens the method; refuses a job that cannot run, with the reason, before anything is
  // written.
  Trainer(Job job, const plugin::Registry& registry, const model::LoadedModel& model,
          const engine::Device& device, TrainerHooks hooks);
  ~Trainer();

  // What the run will be, known before it begins.
  struct Summary {
    const Dataset* train = nullptr;
    const Dataset* eval = nullptr;  // null: no evaluations
    int64_t n_steps = 0;
    int64_t n_trained = 0;      // values that are trained
    int64_t n_base = 0;         // values of the model
    bool makes_adapter = true;  // or a whole model
    TrainingMemory memory;      // the optimizer's part too
    uint64_t memory_free = 0;   // on the device; 0: unknown
    std::vector<std::string> warnings;
  };
  Summary summary() const;

  // From the newest complete checkpoint in the output folder when `resume`; without one, or without `resume`,
  // from the start (an output folder that holds a run already is refused). Throws Error when loss or
  // gradients are not finite: the last good checkpoint stays and nothing that looks finished is written.
  Outcome run(bool resume);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace llmhost::train
