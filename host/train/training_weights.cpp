#include "train/training_weights.h"

#include <algorithm>
#include <functional>

#include "model/weights.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::train {
namespace {

llmh_weight_source source_of(const QuantisedBase& base, const model::GraphWeight& weight,
                             const std::byte* data, uint64_t bytes) {
  llmh_weight_source source = model::weight_source(weight.name, *weight.source, weight.uses, data, bytes);
  source.dtype = base.dtype(weight.name, weight.uses);
  source.uses |= LLMH_USE_TRAINING;
  return source;
}

}  // namespace

TrainingWeights::~TrainingWeights() {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.release_weight");
  for (const auto& [name, prepared] : prepared_)
    device_.api().release_weight(device_.instance(), prepared.weight);
}

// In the order of the files.
std::vector<llmh_weight*> TrainingWeights::of(const graph::Graph& graph) {
  const plugin::ControlScope scope(device_.instance(), "llmh_backend.prepare_weight");
  std::vector<llmh_weight*> by_tensor(graph.tensor_count(), nullptr);
  std::vector<model::GraphWeight> weights = model_.weights_of(graph);
  std::stable_sort(weights.begin(), weights.end(), [](const auto& a, const auto& b) {
    return std::less<>()(a.source->first().bytes.data(), b.source->first().bytes.data());
  });
  for (const model::GraphWeight& weight : weights)
    by_tensor[static_cast<size_t>(weight.tensor)] = prepare(weight);
  return by_tensor;
}

llmh_weight* TrainingWeights::prepare(const model::GraphWeight& weight) {
  const auto [first, last] = prepared_.equal_range(weight.name);
  for (auto known = first; known != last; ++known)
    if ((weight.uses & ~known->second.uses) == 0) return known->second.weight;
  model::WeightData data = base_.load(weight.name, weight.uses);
  llmh_weight_source source = source_of(base_, weight, data.bytes.data(), data.bytes.size());
  uint64_t kept_by_device = 0;
  plugin::check(device_.api().weight_bytes(device_.instance(), &source, &kept_by_device), weight.name);
  const bool is_copy = !data.owned.empty();
  const bool drops_copy = is_copy && kept_by_device > 0 && (weight.uses & LLMH_USE_TABLE) == 0;
  if (drops_copy) source.data_outlives = 0;
  if (!is_copy) source.flags = LLMH_SOURCE_MAPPED;
  llmh_weight* made = nullptr;
  plugin::check(device_.api().prepare_weight(device_.instance(), &source, &made), weight.name);
  prepared_.emplace(weight.name, Prepared{weight.uses, made});
  if (is_copy && !drops_copy) copies_.push_back(std::move(data.owned));
  if (is_copy || kept_by_device > 0) model::drop_stored(*weight.source);
  return made;
}

uint64_t TrainingWeights::bytes(const model::LoadedModel& model, const engine::Device& device,
                                const QuantisedBase& base, const graph::Graph& graph) {
  const plugin::ControlScope scope(device.instance(), "llmh_backend.weight_bytes");
  uint64_t total = 0;
  for (const model::GraphWeight& weight : model.weights_of(graph)) {
    const uint64_t copied = base.copied_bytes(weight.name, weight.uses);
    const uint64_t used = copied > 0 ? copied : model::byte_count(weight.source->dtype, weight.source->shape);
    const llmh_weight_source source = source_of(base, weight, nullptr, used);
    uint64_t kept_by_device = 0;
    plugin::check(device.api().weight_bytes(device.instance(), &source, &kept_by_device), weight.name);
    const bool is_table = (weight.uses & LLMH_USE_TABLE) != 0;
    total += kept_by_device + (kept_by_device == 0 || is_table ? used : 0);
  }
  return total;
}

}  // namespace llmhost::train
