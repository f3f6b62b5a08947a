#include "golden_model.h"

#include <cstring>

#include "model/weights.h"
#include "support/paths.h"

namespace llmhost::test {
namespace {

constexpr std::string_view kPrefix = "grad/";

std::unique_ptr<model::LoadedModel> load(const std::string& name) {
  plugin::RegistryOptions options;
  options.plugin_path = {LLMHOST_BINARY_DIR "/lib/llmhost/plugins"};
  options.use_default_path = false;
  options.allow_insecure = true;  // a build folder may be group-writable
  const plugin::Registry registry(options);
  return model::load_model(data("finetune/models") / name, registry);
}

}  // namespace

std::vector<int32_t> GoldenModel::row_of(const char* tensor, size_t row) const {
  const model::CheckpointTensor& stored = *golden_.find(tensor);
  const auto width = static_cast<size_t>(stored.shape[1]);
  std::vector<int32_t> numbers(width);
  std::memcpy(numbers.data(), stored.data().data() + row * width * sizeof(int32_t), width * sizeof(int32_t));
  return numbers;
}

GoldenModel::GoldenModel(const std::string& name)
    : model_(load(name)), golden_(model::Checkpoint::open(data("finetune/base") / (name + ".safetensors"))) {
  float loss = 0;
  std::memcpy(&loss, golden_.find("loss")->data().data(), sizeof loss);
  loss_ = static_cast<double>(loss);
  const auto n_rows = static_cast<size_t>(golden_.find("input_ids")->shape[0]);
  for (size_t row = 0; row < n_rows; ++row) {
    auto ids = row_of("input_ids", row);
    auto labels = row_of("labels", row);
    size_t length = 0;
    for (const int32_t is_there : row_of("attention_mask", row)) length += is_there != 0 ? 1U : 0U;
    ids.resize(length);  // padded on the right
    labels.resize(length);
    rows_.ids.push_back(std::move(ids));
    rows_.labels.push_back(std::move(labels));
  }
  for (const model::CheckpointTensor& tensor : golden_.tensors())
    if (tensor.name.starts_with(kPrefix)) unasked_.emplace(tensor.name);
}

std::vector<std::string> GoldenModel::weights() const {
  const graph::Graph& graph = model_->graph();
  std::vector<std::string> names;
  for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(i));
    if (info.role == LLMH_TENSOR_WEIGHT) names.emplace_back(graph::to_view(info.name));
  }
  return names;
}

// The expected gradients are laid out as the checkpoint is; the steps that make a weight of the stored
// tensors make its gradient of theirs.
std::vector<float> GoldenModel::gradient(const std::string& weight) {
  model::HubTensor tensor = model_->tensors().find(weight)->second;
  for (auto& part : tensor.parts) {
    const std::string name = std::string(kPrefix) + std::string(part->name);
    part = golden_.find(name);
    if (part == nullptr) return {};
    unasked_.erase(name);
  }
  tensor.dtype = LLMH_DTYPE_F32;
  const model::WeightData loaded = model::load_weight(tensor, 0);
  std::vector<float> values(loaded.bytes.size() / sizeof(float));
  std::memcpy(values.data(), loaded.bytes.data(), loaded.bytes.size());
  return values;
}

}  // namespace llmhost::test
