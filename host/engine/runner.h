// One model on one device, ready to run steps: the program, the memory of activations and scratch, and the
// paged state. Everything is allocated in the constructor; a step allocates nothing. Weights, graph and
// device belong to the caller and must outlive the runner. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device.h"
#include "engine/headless_graph.h"
#include "engine/step_batch.h"
#include "llmhost/backend.h"
#include "plugin/status.h"

namespace llmhost::engine {

struct RunnerOptions {
  int32_t max_tokens = 512;    // of a step
  int32_t max_sequences = 32;  // of a step
  int32_t max_outputs = 32;    // logits rows of a step
  int64_t max_context = 2048;  // positions of one sequence
  // Positions that all sequences together may hold; 0: max_sequences * max_context. Rounded up to whole
  // pages. Memory of the state is taken at once and resident from the start: a run that begins has what
  // it was planned to need.
  int64_t state_tokens = 0;
  int32_t page_tokens = 32;
  int32_t max_adapter_rank = 0;          // of the adapters that steps may have; 0: steps have none
  llmh_dtype kv_dtype = LLMH_DTYPE_F32;  // f32, f16, bf16 or q8_0

  void validate() const;  // throws kInvalidArgument naming the field
  llmh_limits limits() const;
  int32_t n_pages() const;
  int32_t max_pages() const;  // of one sequence
};

// What is run.
struct RunnerModel {
  const llmh_graph* graph = nullptr;      // every node is one the device supports; must outlive the runner
  std::span<llmh_weight* const> weights;  // [n_tensors], null where the tensor is no weight
  std::span<const llmh_state_spec> states;
  std::span<const uint64_t> arena_offsets;  // [n_tensors], UINT64_MAX where the tensor is no activation
  uint64_t arena_bytes = 0;
  const void* identity = nullptr;  // of the model: adapters are made for one
};

class ModelRunner {
 public:
  ModelRunner(const Device& device, const RunnerModel& model, const RunnerOptions& options);
  ~ModelRunner();
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  const RunnerOptions& options() const { return options_; }
  const Device& device() const { return device_; }
  const void* model_identity() const { return identity_; }
  int64_t vocab_size() const { return logits_.width; }
  // From this many positions on, what a position holds depends on the length of the prompt it was computed
  // for (rotary scalings that go by the length); INT64_MAX: never. State is reused for another prompt below
  // it only.
  int64_t length_dependent_from() const { return length_dependent_from_; }

  uint64_t state_bytes() const { return state_.bytes(); }
  uint64_t arena_bytes() const { return arena_.bytes(); }
  uint64_t scratch_bytes() const { return scratch_.bytes(); }

  int64_t hidden_size() const { return hidden_.width; }  // 0: the model gives no hidden states

  // Runs the tokens and gives the logits, [n_outputs, vocab_size] row by row, valid until the next step.
  // Throws what the backend reports.
  std::span<const float> step(StepBatch& batch);
  // The same but for the output head, which is not run; gives the hidden states, [n_outputs, hidden_size].
  // The first call of a runner allocates.
  std::span<const float> step_headless(StepBatch& batch);
  // The hidden states of the last step's output rows, valid until the next step.
  std::span<const float> hidden();

 private:
  // An output of the graph, f32 [R, width] in the arena.
  struct Rows {
    int64_t width = 0;
    uint64_t offset = 0;
    const float* mapped = nullptr;  // null: copied
    std::vector<float> copy;        // [max_outputs, width]
  };

  void allocate(const RunnerModel& model);
  void reserve_state(const RunnerModel& model);
  Rows find_rows(const llmh_graph_output& output, const char* what) const;
  void find_outputs();
  llmh_program* compile(const llmh_graph& graph) const;
  void run(llmh_program* program, StepBatch& batch);
  std::span<const float> read(Rows& rows, const char* what) const;

  const Device& device_;
  RunnerOptions options_;
  const void* identity_;
  std::vector<llmh_state_view> states_;
  DeviceBuffer state_;
  DeviceBuffer arena_;
  DeviceBuffer scratch_;
  const llmh_graph& graph_;
  std::vector<llmh_weight*> weights_;
  std::vector<uint64_t> arena_offsets_;
  llmh_program* program_ = nullptr;
  const llmh_graph_output* hidden_output_ = nullptr;
  std::unique_ptr<HeadlessGraph> headless_graph_;  // made when it is first asked for, and its program
  llmh_program* headless_ = nullptr;
  plugin::Call call_;
  int64_t length_dependent_from_ = INT64_MAX;
  int32_t n_outputs_ = 0;  // of the last step
  Rows logits_;
  Rows hidden_;
};

}  // namespace llmhost::engine
