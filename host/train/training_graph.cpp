#include "train/training_graph.h"

#include <algorithm>

#include "core/error.h"
#include "graph/decompose.h"
#include "graph/fuse.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::train {

llmh_limits training_limits(int64_t max_tokens, int64_t max_sequences) {
  if (max_tokens < 1 || max_tokens > INT32_MAX || max_sequences < 1 || max_sequences > INT32_MAX)
    throw_invalid("a micro-batch of at most {} tokens in {} sequences: both must be from 1 to {}", max_tokens,
                  max_sequences, INT32_MAX);
  llmh_limits limits{};
  limits.struct_size = sizeof limits;
  limits.max_tokens = static_cast<int32_t>(max_tokens);
  limits.max_sequences = static_cast<int32_t>(std::min(max_sequences, max_tokens));
  limits.max_outputs = limits.max_tokens;
  limits.max_state = max_tokens;
  return limits;
}

LoweredGraph lower_training(const graph::Graph& graph, const engine::Device& device,
                            const llmh_limits& limits) {
  const auto supports = [&](const graph::Graph& of, uint32_t node) {
    return device.api().supports(device.instance(), &of.view(), node) == 1;
  };
  LoweredGraph lowered;
  lowered.limits = limits;
  lowered.graph = graph::decompose(graph::fuse(graph, supports), supports);
  const uint32_t bad = graph::first_unsupported(lowered.graph, supports);
  if (bad < lowered.graph.node_count()) {
    const llmh_node& node = lowered.graph.node(bad);
    throw_error(ErrorCode::kUnimplemented,
                "backend '{}' cannot train this: it does not run the op {} at '{}'; choose another with "
                "backend.name",
                device.plugin_id(), graph::op_name(node.op), graph::to_view(node.path));
  }
  lowered.arena = graph::plan_arena(lowered.graph, limits);
  const plugin::ControlScope scope(device.instance(), "llmh_backend.scratch_bytes");
  plugin::check(
      device.api().scratch_bytes(device.instance(), &lowered.graph.view(), &limits, &lowered.scratch_bytes),
      "size of the scratch");
  return lowered;
}

TrainingLayout::TrainingLayout(const model::LoadedModel& model, const engine::Device& device, Method& method,
                               const llmh_limits& limits, const graph::DifferentiateOptions& options)
    : tuned(method.apply(model)) {
  const graph::Graph with_loss = graph::with_training_loss(tuned.graph);
  const graph::TrainingGraph training = graph::differentiate(with_loss, options);
  for (const graph::TrainedTensor& tensor : training.trained) {
    trained.push_back(tensor.name);
    std::vector<int64_t>& shape = shapes.emplace_back();
    for (const llmh_dim& dim : graph::dims_of(training.graph.tensor(tensor.value))) shape.push_back(dim.size);
  }
  train = lower_training(training.graph, device, limits);
  eval = lower_training(with_loss, device, limits);
}

}  // namespace llmhost::train
