#include "engine/memory_plan.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "graph/lifetimes.h"
#include "llmhost/backend.h"
#include "model/weights.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::engine {
namespace {

// Pages of program text and of the allocator that only the run itself touches; measured on several models.
constexpr uint64_t kProcessMargin = uint64_t{6} << 20;

// Returns what the largest weight takes besides while it is laid out anew.
uint64_t add_weights(const model::LoadedModel& model, const graph::Graph& lowered, const Device& device,
                     MemoryPlan& plan) {
  uint64_t in_passing = 0;
  for (const model::GraphWeight& weight : model.weights_of(lowered)) {
    const uint64_t copied = model::copied_bytes(*weight.source, weight.uses);
    // Less than is stored where the weight is some rows of a tensor.
    const uint64_t bytes =
        copied > 0 ? copied : model::byte_count(weight.source->dtype, weight.source->shape);
    const llmh_weight_source source =
        model::weight_source(weight.name, *weight.source, weight.uses, nullptr, bytes);
    uint64_t prepared = 0;
    plugin::check(device.api().weight_bytes(device.instance(), &source, &prepared), weight.name);
    plan.weights_prepared += prepared;
    // As DeviceWeights does it: the sources of what is prepared, and of copies, are let go one by one. Of a
    // table that is prepared as well, the rows that are looked up come back: few.
    const bool is_table = (weight.uses & LLMH_USE_TABLE) != 0;
    if (prepared == 0 || is_table) plan.weights_copied += copied;
    if (copied == 0 && prepared == 0) plan.weights_mapped += weight.source->stored_bytes();
    if (copied > 0 || prepared > 0) in_passing = std::max(in_passing, copied + weight.source->stored_bytes());
  }
  return in_passing;
}

void add_state(const model::LoadedModel& model, const Device& device, const RunnerOptions& options,
               MemoryPlan& plan) {
  for (const llmh_state_spec& spec : model.states()) {
    uint64_t page_bytes = 0;
    plugin::check(device.api().state_page_bytes(device.instance(), &spec, options.kv_dtype,
                                                options.page_tokens, &page_bytes));
    uint64_t slot_bytes = 0;
    if (__builtin_mul_overflow(page_bytes, static_cast<uint64_t>(options.n_pages()), &slot_bytes) ||
        __builtin_add_overflow(plan.state, slot_bytes, &plan.state))
      throw_error(ErrorCode::kResourceExhausted, "state: {} pages of {} bytes are more than any memory holds",
                  options.n_pages(), page_bytes);
  }
}

}  // namespace

uint64_t resident_anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  uint64_t bytes = 0;
  for (std::string line; std::getline(status, line);) {
    // Libraries are file pages too, but few; the mapped model would dominate them and is counted on its own.
    if (!line.starts_with("RssAnon:")) continue;
    std::istringstream(line.substr(8)) >> bytes;
    bytes *= 1024;
  }
  return bytes;
}

MemoryPlan plan_memory(const model::LoadedModel& model, const graph::Graph& lowered, const Device& device,
                       const RunnerOptions& options) {
  const plugin::ControlScope scope(device.instance(), "llmh_backend.weight_bytes");
  MemoryPlan plan;
  const uint64_t in_passing = add_weights(model, lowered, device, plan);
  add_state(model, device, options, plan);
  const llmh_limits limits = options.limits();
  plan.arena = graph::plan_arena(lowered, limits).bytes;
  plugin::check(device.api().scratch_bytes(device.instance(), &lowered.view(), &limits, &plan.scratch));
  plan.sampler = static_cast<uint64_t>(model.info().vocab_size) * (sizeof(float) + sizeof(double) + 8);
  plan.process = resident_anonymous_bytes() + kProcessMargin;
  // Weights are laid out before the rest is allocated.
  const uint64_t after_weights = plan.state + plan.arena + plan.scratch + plan.sampler;
  if (in_passing > after_weights) plan.process += in_passing - after_weights;
  return plan;
}

}  // namespace llmhost::engine
