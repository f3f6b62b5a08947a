#include "peft/tied.h"

#include <string>
#include <utility>
#include <vector>

#include "llmhost/plugin.hpp"

namespace peft {
namespace {

bool is_table(const Module& module) {
  return module.base->kind == LLMH_MODULE_EMBEDDING;
}

// Rows and columns of the weight, as a table's.
std::pair<int64_t, int64_t> sizes(const Module& module) {
  const llmh_base_module& base = *module.base;
  return is_table(module) ? std::pair(base.in_features, base.out_features)
                          : std::pair(base.out_features, base.in_features);
}

std::vector<float> weight_of(const llmh_base_model& model, const Module& module) {
  const auto [rows, columns] = sizes(module);
  std::vector<float> weight(static_cast<size_t>(rows) * static_cast<size_t>(columns));
  llmh::check(model.weight(&model, module.index, weight.data()));
  return weight;
}

}  // namespace

// Two modules of one weight cannot be told apart from two that are equal, and need not be.
void refuse_tied(const AdapterConfig& config, const llmh_base_model& model, const ModuleTable& table,
                 const std::function<bool(const Module&)>& touches) {
  for (const Module& lookup : table.modules()) {
    if (!is_table(lookup)) continue;
    for (const Module& other : table.modules()) {
      if (other.base->kind != LLMH_MODULE_LINEAR || sizes(other) != sizes(lookup)) continue;
      if (!touches(lookup) && !touches(other)) continue;
      if (weight_of(model, lookup) != weight_of(model, other)) continue;
      throw llmh::Error(LLMH_INVALID_ARGUMENT,
                        config.source + ": ensure_weight_tying is true and the adapter changes '" +
                            (touches(lookup) ? lookup : other).path() +
                            "', whose weight another module shares; here only the named one would change");
    }
  }
}

}  // namespace peft
