#include "engine/adapter_deltas.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "plugin/status.h"

namespace llmhost::engine {
namespace {

constexpr size_t kMaxNotes = 1000;
constexpr size_t kMaxNoteBytes = 1000;

std::string_view view(llmh_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}

// The sizes fit into memory: the model has weights of them.
std::vector<float> copied(const float* data, int64_t rows, int64_t columns, const graph::AdapterSite& site,
                          const char* field) {
  if (data == nullptr) return {};
  std::vector<float> values(data, data + static_cast<size_t>(rows) * static_cast<size_t>(columns));
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad != values.end())
    throw_invalid("module '{}': its {} has a value that is not finite at element {}", site.path, field,
                  bad - values.begin());
  return values;
}

// Which fields make sense for the kind of module.
void check_fields(const llmh_module_delta& delta, const graph::AdapterSite& site) {
  const bool is_norm = site.kind == LLMH_MODULE_NORM;
  const bool is_linear = site.kind == LLMH_MODULE_LINEAR;
  const bool has_branch = delta.rank > 0;
  if (delta.rank < 0 || has_branch != (delta.a != nullptr) || has_branch != (delta.b != nullptr))
    throw_invalid("module '{}': a delta of rank {} that has {} A and {} B", site.path, delta.rank,
                  delta.a != nullptr ? "an" : "no", delta.b != nullptr ? "a" : "no");
  if (!std::isfinite(delta.scale)) throw_invalid("module '{}': the scale is not finite", site.path);
  if (has_branch && is_norm) throw_invalid("module '{}': a norm with a branch", site.path);
  if (!is_linear && (delta.b_bias != nullptr || delta.row_scale != nullptr))
    throw_invalid("module '{}': a bias of the branch or factors of rows, which only linears have", site.path);
  if (delta.bias != nullptr && !site.has_bias)
    throw_invalid("module '{}': a bias for a module without one", site.path);
}

}  // namespace

int32_t AdapterDeltas::max_rank() const {
  int32_t rank = 0;
  for (const ModuleDelta& delta : modules) rank = std::max(rank, delta.rank);
  return rank;
}

DeltaCollector::DeltaCollector(const std::vector<graph::AdapterSite>& sites, AdapterDeltas& out)
    : sites_(sites), out_(out), is_given_(sites.size(), false), table_{{}, this} {
  table_.base.struct_size = sizeof(llmh_delta_sink);
  table_.base.add = [](llmh_delta_sink* sink, const llmh_module_delta* delta) {
    return plugin::guard([&] {
      llmh_module_delta known{};
      std::copy_n(reinterpret_cast<const std::byte*>(delta),
                  std::min<size_t>(delta->struct_size, sizeof known), reinterpret_cast<std::byte*>(&known));
      reinterpret_cast<Table*>(sink)->owner->add(known);
    });
  };
  table_.base.note = [](llmh_delta_sink* sink, llmh_str text) {
    return plugin::guard([&] {
      auto& notes = reinterpret_cast<Table*>(sink)->owner->out_.notes;
      if (notes.size() < kMaxNotes) notes.emplace_back(view(text).substr(0, kMaxNoteBytes));
    });
  };
}

void DeltaCollector::add(const llmh_module_delta& delta) {
  if (delta.module >= sites_.size() || is_given_[delta.module])
    throw_error(ErrorCode::kInternal, "a delta for module {} of {}, or a second one for it", delta.module,
                sites_.size());
  const graph::AdapterSite& site = sites_[delta.module];
  if (site.site == 0) throw_invalid("module '{}' cannot be changed by adapters", site.path);
  check_fields(delta, site);
  is_given_[delta.module] = true;
  const int64_t k = site.in_features;
  const int64_t n = site.out_features;
  ModuleDelta own;
  own.module = delta.module;
  own.rank = delta.rank;
  own.scale = delta.scale;
  own.a = copied(delta.a, delta.rank, k, site, "A");
  own.b = copied(delta.b, n, delta.rank, site, "B");
  own.b_bias = copied(delta.b_bias, n, 1, site, "bias of the branch");
  own.row_scale = copied(delta.row_scale, n, 1, site, "row factors");
  own.weight = copied(delta.weight, n, site.kind == LLMH_MODULE_NORM ? 1 : k, site, "weight");
  own.bias = copied(delta.bias, n, 1, site, "bias");
  out_.modules.push_back(std::move(own));
}

std::vector<llmh_site_delta> site_deltas(const AdapterDeltas& deltas,
                                         const std::vector<graph::AdapterSite>& sites) {
  const auto data = [](const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); };
  std::vector<llmh_site_delta> result;
  for (const ModuleDelta& delta : deltas.modules) {
    const graph::AdapterSite& site = sites.at(delta.module);
    llmh_site_delta own{};
    own.struct_size = sizeof own;
    own.site = site.site;
    own.kind = site.kind;
    own.in_features = site.in_features;
    own.out_features = site.out_features;
    own.rank = delta.rank;
    own.scale = delta.scale;
    own.a = data(delta.a);
    own.b = data(delta.b);
    own.b_bias = data(delta.b_bias);
    own.row_scale = data(delta.row_scale);
    own.weight = data(delta.weight);
    own.bias = data(delta.bias);
    result.push_back(own);
  }
  return result;
}

}  // namespace llmhost::engine
