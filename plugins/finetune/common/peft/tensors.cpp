#include "peft/tensors.h"

#include <algorithm>
#include <utility>

#include "llmhost/plugin.hpp"
#include "peft/json.h"

namespace peft {
namespace {

using std::string_view;

constexpr string_view kPrefix = "base_model.model.";
constexpr std::array<string_view, static_cast<size_t>(Part::kCount)> kEndings = {
    ".lora_A.weight",     ".lora_B.weight",   ".lora_B.bias",      ".lora_magnitude_vector",
    ".shira_indices",     ".shira_weight",    ".lora_embedding_A", ".lora_embedding_B",
    ".base_layer.weight", ".base_layer.bias", ".weight",           ".bias"};

std::string dims(const int64_t* shape, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; ++i) text += (i > 0 ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string shape_of(const llmh_adapter_tensor& tensor) {
  return dims(tensor.shape, static_cast<size_t>(tensor.rank));
}

}  // namespace

string_view ending(Part part) {
  return kEndings[static_cast<size_t>(part)];
}

// The longer endings come before those that they end in.
std::optional<Place> place_of(string_view name) {
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  for (size_t i = 0; i < kEndings.size(); ++i)
    if (name.size() > kEndings[i].size() && name.ends_with(kEndings[i]))
      return Place{name.substr(0, name.size() - kEndings[i].size()), static_cast<Part>(i)};
  return std::nullopt;
}

bool is_inner_copy(string_view name) {
  return name.ends_with(".modules_to_save.bias") || name.ends_with(".original_module.bias");
}

void refuse_tensor(string_view name, const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT,
                    std::string(kTensorFile) + ": tensor " + shown(OrderedJson(name)) + " " + what);
}

void ModuleTensors::put(Part part, const llmh_adapter_tensor* tensor) {
  const llmh_adapter_tensor*& slot = tensors_[static_cast<size_t>(part)];
  if (slot != nullptr)
    refuse_tensor(llmh::view(tensor->name), "is for the same module as " +
                                                shown(OrderedJson(llmh::view(slot->name))) +
                                                "; one of them is too many");
  slot = tensor;
}

const llmh_adapter_tensor* ModuleTensors::take(Part part, std::initializer_list<int64_t> shape) {
  const llmh_adapter_tensor* const tensor = std::exchange(tensors_[static_cast<size_t>(part)], nullptr);
  if (tensor == nullptr) return nullptr;
  const bool fits = static_cast<size_t>(tensor->rank) == shape.size() &&
                    std::equal(shape.begin(), shape.end(), tensor->shape);
  if (!fits)
    refuse_tensor(llmh::view(tensor->name),
                  "has the shape " + shape_of(*tensor) + ", expected " + dims(shape.begin(), shape.size()));
  return tensor;
}

const llmh_adapter_tensor& ModuleTensors::require(Part part, std::initializer_list<int64_t> shape,
                                                  const std::string& path) {
  const llmh_adapter_tensor* const tensor = take(part, shape);
  if (tensor == nullptr)
    refuse_tensor(std::string(kPrefix) + path + std::string(ending(part)),
                  "is missing, expected one of the shape " + dims(shape.begin(), shape.size()) +
                      " for what " + std::string(kConfigFile) + " says");
  return *tensor;
}

const llmh_adapter_tensor* ModuleTensors::left_over() const {
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [](const auto* tensor) { return tensor != nullptr; });
  return found == tensors_.end() ? nullptr : *found;
}

std::vector<ModuleTensors> sort_tensors(const llmh_adapter_source& source, ModuleTable& table) {
  std::vector<ModuleTensors> sorted(table.modules().size());
  for (uint32_t i = 0; i < source.n_tensors; ++i) {
    const llmh_adapter_tensor* const tensor = source.tensors[i];
    const string_view name = llmh::view(tensor->name);
    if (is_inner_copy(name)) continue;
    const std::optional<Place> place = place_of(name);
    if (!place)
      refuse_tensor(name, "of the shape " + shape_of(*tensor) + " is not one that such an adapter has");
    const Module* const module = table.resolve(place->path);
    if (module == nullptr)
      refuse_tensor(name, "of the shape " + shape_of(*tensor) + " is for '" + std::string(place->path) +
                              "', which is no module of this model that an adapter can change");
    sorted[module->index].put(place->part, tensor);
  }
  return sorted;
}

}  // namespace peft
