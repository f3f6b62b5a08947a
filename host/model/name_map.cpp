#include "model/name_map.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "plugin/status.h"

namespace llmhost::model {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kLayer = "{i}";
constexpr std::string_view kExpert = "{j}";

std::string to_string(llmh_str text) {
  return {text.ptr, static_cast<size_t>(text.len)};
}

void fill_index(std::string& pattern, std::string_view placeholder, const std::string& index) {
  const size_t at = pattern.find(placeholder);
  if (at != std::string::npos) pattern.replace(at, placeholder.size(), index);
}

// Whether the pattern has the index. Throws when it has it twice, or when its end could not be told.
bool has_index(const std::string& pattern, std::string_view placeholder) {
  const size_t at = pattern.find(placeholder);
  if (at == std::string::npos) return false;
  const std::string_view rest = std::string_view(pattern).substr(at + placeholder.size());
  const bool ends =
      rest.empty() || (kDigits.find(rest.front()) == std::string_view::npos && rest.front() != '{');
  if (!ends || rest.find(placeholder) != std::string_view::npos)
    throw_invalid("name rule for '{}': '{}' may stand there once, before something that is no index or digit",
                  pattern, placeholder);
  return true;
}

void change_shape(const CheckpointTensor& stored, const llmh_layout_step& step, std::vector<int64_t>& shape) {
  const auto refuse = [&](std::string_view wanted) {
    throw_invalid("{}: tensor '{}' of shape [{}]: {}", stored.file, stored.name, fmt::join(stored.shape, ","),
                  wanted);
  };
  if (step.layout == LLMH_LAYOUT_ROTARY_PAIRS) {
    const bool fits =
        !shape.empty() && 0 < step.arg0 && step.arg0 <= shape[0] / 2 && shape[0] % (2 * step.arg0) == 0;
    if (!fits) refuse(fmt::format("its rows cannot be split into rotary pairs of {} heads", step.arg0));
  } else if (step.layout == LLMH_LAYOUT_TRANSPOSED) {
    if (shape.size() == 2) std::swap(shape[0], shape[1]);
    if (shape.size() > 2) refuse("only matrices can be transposed");
  } else if (step.layout == LLMH_LAYOUT_ROWS) {
    const bool fits = !shape.empty() && 0 <= step.arg0 && step.arg0 < step.arg1 && step.arg1 <= shape[0];
    if (!fits) refuse(fmt::format("it has no rows {} to {}", step.arg0, step.arg1));
    shape[0] = step.arg1 - step.arg0;
  }
}

HubTensor hub_tensor(const CheckpointTensor& stored, const std::vector<llmh_layout_step>& steps) {
  HubTensor tensor{&stored, stored.shape, steps};
  for (const llmh_layout_step& step : steps) change_shape(stored, step, tensor.shape);
  return tensor;
}

}  // namespace

std::optional<NameIndices> match_pattern(std::string_view pattern, std::string_view name) {
  NameIndices indices;
  while (!pattern.empty()) {
    std::string* index = pattern.starts_with(kLayer)    ? &indices.i
                         : pattern.starts_with(kExpert) ? &indices.j
                                                        : nullptr;
    if (index == nullptr) {
      if (name.empty() || name.front() != pattern.front()) return std::nullopt;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
      continue;
    }
    const size_t digits = std::min(name.find_first_not_of(kDigits), name.size());
    if (digits == 0) return std::nullopt;
    index->assign(name.substr(0, digits));
    pattern.remove_prefix(kLayer.size());
    name.remove_prefix(digits);
  }
  return name.empty() ? std::optional(std::move(indices)) : std::nullopt;
}

struct NameMap::Thunks {
  static NameMap& self(llmh_name_sink* sink) { return *reinterpret_cast<Table*>(sink)->owner; }
  static llmh_status* map(llmh_name_sink* sink, const llmh_name_rule* rule) {
    return plugin::guard([&] { self(sink).add_rule(*rule); });
  }
  static llmh_status* ignore(llmh_name_sink* sink, llmh_str stored) {
    return plugin::guard([&] { self(sink).ignored_.push_back(to_string(stored)); });
  }
};

NameMap::NameMap() : table_{{sizeof(llmh_name_sink), &Thunks::map, &Thunks::ignore}, this} {}

void NameMap::add_rule(const llmh_name_rule& rule) {
  Rule kept{to_string(rule.hub_name), to_string(rule.stored_name), {}};
  for (const std::string_view index : {kLayer, kExpert})
    if (const bool given = has_index(kept.stored, index); has_index(kept.hub, index) && !given)
      throw_invalid("name rule for '{}': the name '{}' it becomes has an index {} of its own", kept.stored,
                    kept.hub, index);
  if (rule.n_steps > 0) kept.steps.assign(rule.steps, rule.steps + rule.n_steps);
  for (const llmh_layout_step& step : kept.steps)
    if (step.layout < LLMH_LAYOUT_SAME || step.layout > LLMH_LAYOUT_ROWS)
      throw_error(ErrorCode::kUnimplemented, "name rule for '{}': layout {} is newer than this host",
                  kept.stored, step.layout);
  rules_.push_back(std::move(kept));
}

bool NameMap::is_ignored(std::string_view stored_name) const {
  return std::any_of(ignored_.begin(), ignored_.end(), [&](const std::string& pattern) {
    return match_pattern(pattern, stored_name).has_value();
  });
}

std::map<std::string, HubTensor, std::less<>> NameMap::apply(const Checkpoint& checkpoint) const {
  std::map<std::string, HubTensor, std::less<>> hub;
  const auto add = [&](std::string name, HubTensor tensor) {
    const CheckpointTensor& stored = *tensor.stored;
    const auto [it, is_new] = hub.emplace(std::move(name), std::move(tensor));
    if (!is_new)
      throw_invalid("{}: tensors '{}' and '{}' both stand for '{}'", stored.file, it->second.stored->name,
                    stored.name, it->first);
  };
  for (const CheckpointTensor& stored : checkpoint.tensors()) {
    bool mapped = false;
    for (const Rule& rule : rules_) {
      const auto indices = match_pattern(rule.stored, stored.name);
      if (!indices) continue;
      std::string name = rule.hub;
      fill_index(name, kLayer, indices->i);
      fill_index(name, kExpert, indices->j);
      add(std::move(name), hub_tensor(stored, rule.steps));
      mapped = true;
    }
    if (!mapped) add(std::string(stored.name), hub_tensor(stored, {}));
  }
  return hub;
}

}  // namespace llmhost::model
