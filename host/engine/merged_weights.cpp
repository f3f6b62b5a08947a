#include "engine/merged_weights.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "model/weights.h"

namespace llmhost::engine {
namespace {

using graph::AdapterSite;

bool is_only_branch(const ModuleDelta& delta) {
  return delta.rank > 0 && delta.row_scale.empty() && delta.weight.empty() && delta.bias.empty();
}

// A module that the same weight serves besides.
const AdapterSite* other_user(const std::vector<AdapterSite>& sites, const AdapterSite& site) {
  const auto found = std::ranges::find_if(sites, [&](const AdapterSite& other) {
    return &other != &site && !site.weight_name.empty() && other.weight_name == site.weight_name;
  });
  return found == sites.end() ? nullptr : &*found;
}

}  // namespace

MergedWeights::MergedWeights(const model::LoadedModel& model, const std::vector<AdapterSite>& sites,
                             std::vector<Part> parts, ThreadPool* threads)
    : model_(model), sites_(sites), parts_(std::move(parts)), threads_(threads) {
  for (const Part& part : parts_)
    for (const ModuleDelta& delta : part.deltas.modules) add(sites_.at(delta.module), part.name, delta);
  // An embedding that changes leaves a head that is tied to it as it was.
  for (const AdapterSite& site : sites_) {
    const AdapterSite* const embedding = site.is_head ? other_user(sites_, site) : nullptr;
    if (embedding == nullptr) continue;
    const bool embedding_changes = changed_.contains(site.weight_name);
    const bool head_changes = changed_.contains(site.path + ".weight");
    if (embedding_changes || head_changes) untie(site);
  }
}

void MergedWeights::untie(const AdapterSite& head) {
  untied_head_ = head.path + ".weight";
  Change& change = changed_[untied_head_];
  change.weight = head.weight_name;
  change.site = &head;
}

void MergedWeights::add(const AdapterSite& site, const std::string& adapter, const ModuleDelta& delta) {
  const bool is_tied_head = site.is_head && other_user(sites_, site) != nullptr;
  if (delta.rank > 0 || !delta.row_scale.empty() || !delta.weight.empty()) {
    Change& change = changed_[is_tied_head ? site.path + ".weight" : site.weight_name];
    const bool adds_up = is_only_branch(delta) && std::ranges::all_of(change.deltas, [](const auto* other) {
                           return is_only_branch(*other);
                         });
    if (!change.deltas.empty() && !adds_up)
      throw_invalid(
          "adapter '{}' and another one both change module '{}', and not by low-rank branches alone; merge "
          "one into the model and train the other anew",
          adapter, site.path);
    change.weight = site.weight_name;
    change.site = &site;
    change.deltas.push_back(&delta);
  }
  if (!delta.bias.empty() || !delta.b_bias.empty()) add_bias(site, adapter, delta);
}

void MergedWeights::add_bias(const AdapterSite& site, const std::string& adapter, const ModuleDelta& delta) {
  if (!site.has_bias || site.bias_name.empty())
    throw_invalid("adapter '{}': module '{}' has no bias that could take that of the branch", adapter,
                  site.path);
  Change& change = changed_[site.bias_name];
  if (!change.deltas.empty() && !delta.bias.empty())
    throw_invalid("adapter '{}' and another one both change the bias of module '{}'", adapter, site.path);
  change.weight = site.bias_name;
  change.site = &site;
  change.is_bias = true;
  change.deltas.push_back(&delta);
}

std::vector<float> MergedWeights::base(const std::string& hub_name) const {
  const auto found = model_.tensors().find(hub_name);
  if (found == model_.tensors().end())
    throw_error(ErrorCode::kInternal, "the model has no tensor '{}'", hub_name);
  const model::WeightData data = model::load_weight(found->second, LLMH_USE_VECTOR);
  std::vector<float> values(data.bytes.size() / sizeof(float));
  std::memcpy(values.data(), data.bytes.data(), data.bytes.size());
  return values;
}

std::vector<float> MergedWeights::get(const std::string& hub_name) const {
  const Change& change = changed_.at(hub_name);
  const bool replaces = change.deltas.size() == 1 &&
                        !(change.is_bias ? change.deltas[0]->bias : change.deltas[0]->weight).empty();
  std::vector<float> values;
  if (replaces)
    values = change.is_bias ? change.deltas[0]->bias : change.deltas[0]->weight;
  else
    values = base(change.weight);
  for (const ModuleDelta* delta : change.deltas) {
    if (!change.is_bias) {
      apply_weight(*change.site, *delta, values);
      continue;
    }
    for (size_t n = 0; n < delta->b_bias.size(); ++n) {
      const float scale = delta->row_scale.empty() ? delta->scale : delta->scale * delta->row_scale[n];
      values[n] += scale * delta->b_bias[n];
    }
  }
  return values;
}

// W [N,K] + s B A, or a table [K,N] + s (B A)^T.
void MergedWeights::add_branch(const AdapterSite& site, const ModuleDelta& delta,
                               std::vector<float>& values) const {
  const bool is_table = site.kind == LLMH_MODULE_EMBEDDING;
  const auto n_rows = static_cast<size_t>(is_table ? site.in_features : site.out_features);
  const auto n_columns = static_cast<size_t>(is_table ? site.out_features : site.in_features);
  const auto rank = static_cast<size_t>(delta.rank);
  auto add_row = [&](int64_t item, int32_t) {
    const auto row = static_cast<size_t>(item);
    std::vector<float> sum(n_columns, 0.0F);
    for (size_t r = 0; r < rank; ++r) {
      // Of a table the row is a token's: a column of A.
      const float left = is_table ? delta.a[r * n_rows + row] : delta.b[row * rank + r];
      for (size_t c = 0; c < n_columns; ++c)
        sum[c] += left * (is_table ? delta.b[c * rank + r] : delta.a[r * n_columns + c]);
    }
    float* out = values.data() + row * n_columns;
    for (size_t c = 0; c < n_columns; ++c) out[c] += delta.scale * sum[c];
  };
  if (threads_ != nullptr)
    threads_->parallel_for(static_cast<int64_t>(n_rows), add_row);
  else
    for (size_t row = 0; row < n_rows; ++row) add_row(static_cast<int64_t>(row), 0);
}

void MergedWeights::apply_weight(const AdapterSite& site, const ModuleDelta& delta,
                                 std::vector<float>& values) const {
  if (delta.rank > 0) add_branch(site, delta, values);
  if (delta.row_scale.empty()) return;
  const auto n_columns = static_cast<size_t>(site.in_features);
  for (size_t n = 0; n < delta.row_scale.size(); ++n)
    for (size_t k = 0; k < n_columns; ++k) values[n * n_columns + k] *= delta.row_scale[n];
}

}  // namespace llmhost::engine
