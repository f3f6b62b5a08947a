// What running a model will take, computed before anything is loaded: weights, state, activations, scratch,
// and what the process holds besides. The runner allocates by the same figures, so a plan that fits is a run
// that fits.
#pragma once

#include <cstdint>
#include <string>

#include "engine/device.h"
#include "engine/runner.h"
#include "graph/graph.h"
#include "model/loader.h"

namespace llmhost::engine {

struct MemoryPlan {
  uint64_t weights_mapped = 0;    // read in place from the files (shared with other processes)
  uint64_t weights_copied = 0;    // reordered or decoded by the host
  uint64_t weights_prepared = 0;  // in the device's own layout
  uint64_t state = 0;             // keys and values of all sequences at their longest
  uint64_t arena = 0;             // activations of the largest step, logits included
  uint64_t scratch = 0;           // of the backend
  uint64_t sampler = 0;           // workspace of the vocabulary's size
  uint64_t process = 0;  // program, libraries, tokenizer, graph, and what loading takes beyond the rest

  // What a run will allocate: the system can take back none of it.
  uint64_t allocated() const { return weights_copied + weights_prepared + state + arena + scratch + sampler; }
  uint64_t total() const { return weights_mapped + process + allocated(); }
};

// `lowered` is lower_graph() of the model for the device. [control]
MemoryPlan plan_memory(const model::LoadedModel& model, const graph::Graph& lowered, const Device& device,
                       const RunnerOptions& options);

// Resident memory of this process that is not backed by the model's files, in bytes.
uint64_t resident_anonymous_bytes();

}  // namespace llmhost::engine
