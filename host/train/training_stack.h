// A model with what is trained in it, ready to compute losses and gradients on a device: the training
// counterpart of engine/model_stack.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "engine/device.h"
#include "graph/autodiff/autodiff.h"
#include "model/loader.h"
#include "train/example.h"
#include "train/method.h"

namespace llmhost::train {

struct TrainingOptions {
  int64_t max_tokens = 2048;       // of a micro-batch
  int64_t max_sequences = 64;      // of a micro-batch
  bool checkpoint_layers = false;  // gradient checkpointing
  llmh_dtype saved_dtype = LLMH_DTYPE_F32;
  uint64_t init_seed = 0;  // of parameters that start at random: the same seed and names, the same values
};

// What training will take, before anything is allocated; bytes.
struct TrainingMemory {
  uint64_t weights = 0;     // read in place or copied
  uint64_t parameters = 0;  // values
  uint64_t gradients = 0;
  uint64_t activations = 0;  // arena
  uint64_t scratch = 0;
  uint64_t output = 0;     // while the result is written
  uint64_t optimizer = 0;  // by the trainer
  uint64_t process = 0;    // by the trainer: program, libraries, tokenizer, data

  uint64_t total() const {
    return weights + parameters + gradients + activations + scratch + output + optimizer + process;
  }
};

// A trained tensor; memory is the stack's.
struct TrainedValue {
  // Of the parameter: "model.layers.0.self_attn.q_proj.lora_A.weight", or a weight's Hub name.
  std::string name;
  std::string file_name;       // in an adapter file or a checkpoint
  std::string weight;          // Hub name of the base's weight that it stands for; empty: a tensor of its own
  bool is_transposed = false;  // a weight whose files, an adapter too, hold [K,N] for this [N,K]
  std::vector<int64_t> shape;
  std::span<float> value;
  std::span<float> gradient;  // sum over the targets since zero_gradients()
};

// A loss or a gradient that is no number.
class NonFiniteError : public Error {
 public:
  explicit NonFiniteError(const std::string& tensor)
      : Error(ErrorCode::kAborted, tensor + " is not finite"), tensor_(tensor) {}
  const std::string& tensor() const { return tensor_; }

 private:
  std::string tensor_;
};

// [control] but for what says otherwise; model, device and method must outlive it.
class TrainingStack {
 public:
  TrainingStack(const model::LoadedModel& model, const engine::Device& device, Method& method,
                const TrainingOptions& options);
  ~TrainingStack();
  TrainingStack(const TrainingStack&) = delete;
  TrainingStack& operator=(const TrainingStack&) = delete;

  struct Plan {
    TrainingMemory memory;
    std::vector<std::vector<int64_t>> shapes;  // of what is trained
  };
  static Plan plan(const model::LoadedModel& model, const engine::Device& device, Method& method,
                   const TrainingOptions& options);

  // In order of the graph; the same for the same model, method and settings.
  std::span<const TrainedValue> trained() const;
  // Values from an adapter folder or a checkpoint, by file name. Every trained tensor must be there, finite
  // and of its shape.
  void load_values(const std::filesystem::path& path);

  void zero_gradients();
  // Adds the gradients of the sum of the losses of the batch's targets and returns that sum. `dropout_seed`
  // 0: no dropout. The numbers do not depend on the number of threads. Throws NonFiniteError when the loss
  // is not finite.
  double accumulate(MicroBatch batch, uint64_t dropout_seed);
  // The sum of the losses alone, nothing dropped.
  double loss(MicroBatch batch);
  // Logits [n, V] of all positions of one sequence.
  std::vector<float> logits(std::span<const int32_t> ids);

  TrainingMemory memory() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace llmhost::train
