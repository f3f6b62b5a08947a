#include "train/stored_tensors.h"

#include <algorithm>
#include <map>
#include <span>

#include "model/layout_steps.h"
#include "model/unlayout.h"
#include "train/trained_files.h"

namespace llmhost::train {

std::vector<FileTensor> gradient_files(const model::LoadedModel& model, const Method& method,
                                       const TrainingStack& stack, double factor) {
  const bool is_whole_model = method.config_json().empty();
  std::map<std::string, std::vector<float>, std::less<>> by_weight;
  std::vector<FileTensor> files;
  for (const TrainedValue& tensor : stack.trained()) {
    std::vector<float> values(tensor.gradient.begin(), tensor.gradient.end());
    for (float& value : values) value = static_cast<float>(static_cast<double>(value) * factor);
    if (is_whole_model && !tensor.weight.empty())
      by_weight.emplace(tensor.weight, std::move(values));
    else
      files.push_back({tensor.file_name, file_shape(tensor), in_file_order(tensor, values)});
  }
  const model::StoredUses uses = model::stored_uses(model.tensors());
  for (const model::CheckpointTensor& stored : model.checkpoint().tensors()) {
    const auto used = uses.find(&stored);
    const bool is_trained =
        used != uses.end() && std::ranges::any_of(used->second, [&](const model::StoredUse& use) {
          return by_weight.contains(use.hub_name);
        });
    if (!is_trained) continue;
    FileTensor& file = files.emplace_back(FileTensor{std::string(stored.name), stored.shape,
                                                     std::vector<float>(model::element_count(stored.shape))});
    model::put_back(
        used->second,
        [&](const std::string& name) {
          const auto found = by_weight.find(name);
          return found == by_weight.end() ? std::span<const float>() : std::span<const float>(found->second);
        },
        stored, file.values);
  }
  return files;
}

}  // namespace llmhost::train
