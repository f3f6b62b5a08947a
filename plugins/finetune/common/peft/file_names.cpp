#include "peft/file_names.h"

#include <optional>

#include "peft/modules.h"
#include "peft/tensors.h"

namespace peft {
namespace {

bool has_place(const AdapterConfig& config, const Choice::Chosen& chosen, Part part) {
  const bool is_linear = chosen.branch && chosen.kind == LLMH_MODULE_LINEAR;
  switch (part) {
    case Part::kA:
    case Part::kB:
      return is_linear;
    case Part::kBranchBias:
      return is_linear && config.has_branch_bias;
    case Part::kMagnitudes:
      return is_linear && config.has_magnitudes;
    case Part::kEmbeddingA:
    case Part::kEmbeddingB:
      return chosen.branch && chosen.kind == LLMH_MODULE_EMBEDDING;
    case Part::kBaseWeight:
    case Part::kBaseBias:
      return chosen.branch.has_value();
    case Part::kWeight:
      return (chosen.bits & LLMH_TUNE_WEIGHT) != 0;
    case Part::kBias:
      return (chosen.bits & LLMH_TUNE_BIAS) != 0;
    default:
      return false;
  }
}

}  // namespace

FileNames::FileNames(const llmh_adapter_source& source) {
  for (uint32_t i = 0; i < source.n_tensors; ++i) {
    const std::string_view name = llmh::view(source.tensors[i]->name);
    if (!is_inner_copy(name)) names_.emplace_back(name);
  }
}

void FileNames::place(const AdapterConfig& config, const llmh_base_model& model, const Choice& choice) {
  spelled_.clear();
  if (names_.empty()) return;
  ModuleTable table(model);
  for (const std::string& name : names_) {
    const std::optional<Place> place = place_of(name);
    const Module* const module = place ? table.resolve(place->path) : nullptr;
    if (module == nullptr) refuse_tensor(name, "is for no module of this model that an adapter can change");
    const Choice::Chosen& chosen = choice.at(module->index);
    if (!has_place(config, chosen, place->part))
      refuse_tensor(name, "is there, but " + std::string(kConfigFile) + " gives '" + module->path() +
                              "' no such tensor");
    // Older files have the bias of an adapted layer without "base_layer".
    const bool is_old = place->part == Part::kBias && chosen.branch.has_value();
    const Part part = is_old ? Part::kBaseBias : place->part;
    spelled_.emplace(library_name(module->path() + std::string(ending(part))), name);
  }
}

std::string_view FileNames::spelled(std::string_view name) const {
  const auto found = spelled_.find(name);
  return found == spelled_.end() ? name : std::string_view(found->second);
}

}  // namespace peft
