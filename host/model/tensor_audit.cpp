#include "model/tensor_audit.h"

#include <algorithm>
#include <set>

namespace llmhost::model {
namespace {

constexpr std::string_view kDigits = "0123456789";

// "a.3.b" and "a.11.b" are of one kind: "a.*.b".
std::string kind_of(std::string_view module) {
  std::string kind;
  while (!module.empty()) {
    const size_t end = std::min(module.find('.'), module.size());
    const std::string_view part = module.substr(0, end);
    const bool is_index = !part.empty() && part.find_first_not_of(kDigits) == std::string_view::npos;
    kind += is_index ? std::string_view("*") : part;
    kind += '.';
    module.remove_prefix(std::min(end + 1, module.size()));
  }
  return kind;
}

}  // namespace

std::vector<std::string> missing_biases(const std::vector<std::string_view>& stored_names) {
  constexpr std::string_view kWeight = ".weight";
  constexpr std::string_view kBias = ".bias";
  std::set<std::string_view> with_bias;
  std::set<std::string> kinds_with_bias;
  for (const std::string_view name : stored_names) {
    if (!name.ends_with(kBias)) continue;
    const std::string_view module = name.substr(0, name.size() - kBias.size());
    with_bias.insert(module);
    kinds_with_bias.insert(kind_of(module));
  }
  std::vector<std::string> missing;
  if (with_bias.empty()) return missing;
  for (const std::string_view name : stored_names) {
    if (!name.ends_with(kWeight)) continue;
    const std::string_view module = name.substr(0, name.size() - kWeight.size());
    if (!with_bias.contains(module) && kinds_with_bias.contains(kind_of(module)))
      missing.push_back(std::string(module) + std::string(kBias));
  }
  return missing;
}

}  // namespace llmhost::model
