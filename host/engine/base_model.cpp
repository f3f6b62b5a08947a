#include "engine/base_model.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "model/weights.h"
#include "plugin/status.h"

namespace llmhost::engine {
namespace {

llmh_str text(std::string_view view) {
  return {view.data(), view.size()};
}

uint32_t weight_flags(const model::HubTensor& weight) {
  uint32_t flags = 0;
  const bool is_float =
      weight.dtype == LLMH_DTYPE_F32 || weight.dtype == LLMH_DTYPE_F16 || weight.dtype == LLMH_DTYPE_BF16;
  if (!is_float || weight.first().decoder != nullptr) flags |= LLMH_MODULE_LOSSY;
  const bool is_transposed = std::any_of(weight.steps.begin(), weight.steps.end(), [](const auto& step) {
    return step.layout == LLMH_LAYOUT_TRANSPOSED;
  });
  if (is_transposed && weight.shape.size() > 1) flags |= LLMH_MODULE_TRANSPOSED;
  return flags;
}

// A component of digits: the number of a layer.
bool is_in_block(std::string_view path) {
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('.'));
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos) return true;
    path.remove_prefix(std::min(path.size(), part.size() + 1));
  }
  return false;
}

}  // namespace

uint32_t place_flags(const graph::AdapterSite& site) {
  uint32_t flags = 0;
  if (site.is_head) flags |= LLMH_MODULE_HEAD;
  if (site.is_experts) flags |= LLMH_MODULE_EXPERTS;
  if (is_in_block(site.path)) flags |= LLMH_MODULE_IN_BLOCK;
  return flags;
}

BaseModel::BaseModel(const model::LoadedModel& model, std::vector<graph::AdapterSite> sites, Fixed fixed,
                     WeightReader reader)
    : model_(model),
      sites_(std::move(sites)),
      reader_(std::move(reader)),
      name_(model.checkpoint().path().string()),
      table_{{}, this} {
  for (const graph::AdapterSite& site : sites_) modules_.push_back(describe(site, fixed));
  for (const llmh_base_module& module : modules_) pointers_.push_back(&module);
  table_.base.struct_size = sizeof(llmh_base_model);
  table_.base.n_modules = static_cast<uint32_t>(pointers_.size());
  table_.base.modules = pointers_.data();
  table_.base.weight = &read_weight;
  table_.base.name = text(name_);
}

llmh_base_module BaseModel::describe(const graph::AdapterSite& site, Fixed fixed) const {
  llmh_base_module module{};
  module.struct_size = sizeof module;
  module.kind = fixed == Fixed::kNoSite && site.site == 0 ? LLMH_MODULE_FIXED : site.kind;
  module.path = text(site.path);
  module.in_features = site.in_features;
  module.out_features = site.out_features;
  module.has_bias = site.has_bias ? 1 : 0;
  module.flags = place_flags(site);
  if (const model::HubTensor* const stored = find(site)) module.flags |= weight_flags(*stored);
  module.n_weights = site.n_weights;
  return module;
}

const model::HubTensor* BaseModel::find(const graph::AdapterSite& site) const {
  const auto& tensors = model_.tensors();
  const auto found = tensors.find(site.weight_name);
  return found == tensors.end() ? nullptr : &found->second;
}

llmh_status* BaseModel::read_weight(const llmh_base_model* table, uint32_t module, float* out) {
  return plugin::guard([&] {
    const BaseModel& self = *reinterpret_cast<const Table*>(table)->owner;
    const graph::AdapterSite& site = self.sites_.at(module);
    if (self.modules_[module].kind == LLMH_MODULE_FIXED)
      throw_invalid("module '{}' has no weight that a method could use", site.path);
    const model::HubTensor* const tensor = self.find(site);
    if (tensor == nullptr)
      throw_error(ErrorCode::kInternal, "module '{}' has no stored weight '{}'", site.path, site.weight_name);
    const model::WeightData data =
        self.reader_ ? self.reader_(site) : model::load_weight(*tensor, LLMH_USE_VECTOR);
    std::memcpy(out, data.bytes.data(), data.bytes.size());
  });
}

}  // namespace llmhost::engine
