#include "model/name_map.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/error.h"
#include "model/layout_steps.h"
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

// The tensors with the indices 0, 1, 2, … below each other.
HubTensor stack(const std::string& hub_name, const std::map<uint64_t, HubTensor>& parts) {
  HubTensor whole = parts.begin()->second;
  whole.parts.clear();
  whole.stacked = true;
  for (const auto& [index, part] : parts) {
    const CheckpointTensor& stored = part.first();
    if (index != whole.parts.size())
      throw_invalid("{}: tensor '{}' has the index {} in what is stacked as '{}', but there is none with {}",
                    stored.file, stored.name, index, hub_name, whole.parts.size());
    if (part.shape != whole.shape)
      throw_invalid("{}: tensor '{}' gives [{}], but '{}', with which it is stacked as '{}', gives [{}]",
                    stored.file, stored.name, fmt::join(part.shape, ","), whole.first().name, hub_name,
                    fmt::join(whole.shape, ","));
    const bool known = whole.dtype != LLMH_DTYPE_INVALID && part.dtype != LLMH_DTYPE_INVALID;
    if (part.dtype != whole.dtype) whole.dtype = known ? LLMH_DTYPE_F32 : LLMH_DTYPE_INVALID;
    whole.parts.push_back(&stored);
  }
  if (whole.shape.size() == LLMH_MAX_RANK)
    throw_invalid("{}: tensor '{}' of rank {} cannot be stacked", whole.first().file, whole.first().name,
                  whole.shape.size());
  whole.shape.insert(whole.shape.begin(), static_cast<int64_t>(whole.parts.size()));
  return whole;
}

uint64_t index_of(const std::string& digits, const CheckpointTensor& stored) {
  uint64_t index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc()) throw_invalid("{}: the index in '{}' is too large", stored.file, stored.name);
  return index;
}

[[noreturn]] void refuse_second(const CheckpointTensor& first, const CheckpointTensor& second,
                                std::string_view hub_name) {
  throw_invalid("{}: tensors '{}' and '{}' both stand for '{}'", second.file, first.name, second.name,
                hub_name);
}

}  // namespace

HubTensor hub_tensor(const CheckpointTensor& stored, const std::vector<llmh_layout_step>& steps) {
  HubTensor tensor{{&stored}, steps, false, stored.shape, stored.dtype};
  for (const llmh_layout_step& step : steps) {
    const std::vector<int64_t> before = tensor.shape;
    if (const std::string misfit = change_shape(step, tensor.shape); !misfit.empty())
      throw_invalid("{}: tensor '{}' of shape [{}]: {}", stored.file, stored.name,
                    fmt::join(stored.shape, ","), misfit);
    if (splits_blocks(step, before, tensor.dtype)) tensor.dtype = LLMH_DTYPE_F32;
  }
  return tensor;
}

uint64_t HubTensor::stored_bytes() const {
  uint64_t bytes = 0;
  for (const CheckpointTensor* part : parts) bytes += part->stored_bytes();
  return bytes;
}

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
  for (const std::string_view index : {kLayer, kExpert}) {
    const bool given = has_index(kept.stored, index);
    const bool wanted = has_index(kept.hub, index);
    if (wanted && !given)
      throw_invalid("name rule for '{}': the name '{}' it becomes has an index {} of its own", kept.stored,
                    kept.hub, index);
    kept.stacks = index == kExpert && given && !wanted;
  }
  if (rule.n_steps > 0) kept.steps.assign(rule.steps, rule.steps + rule.n_steps);
  for (const llmh_layout_step& step : kept.steps)
    if (step.layout < LLMH_LAYOUT_SAME || step.layout > LLMH_LAYOUT_SPLIT)
      throw_error(ErrorCode::kUnimplemented, "name rule for '{}': layout {} is newer than this host",
                  kept.stored, step.layout);
  rules_.push_back(std::move(kept));
}

bool NameMap::is_ignored(std::string_view stored_name) const {
  return std::any_of(ignored_.begin(), ignored_.end(), [&](const std::string& pattern) {
    return match_pattern(pattern, stored_name).has_value();
  });
}

std::vector<NameMap::StoredForm> NameMap::stored_forms(std::string_view hub_name) const {
  std::vector<StoredForm> forms;
  for (const Rule& rule : rules_) {
    const auto indices = match_pattern(rule.hub, hub_name);
    if (!indices) continue;
    std::string name = rule.stored;
    if (!indices->i.empty()) fill_index(name, kLayer, indices->i);
    if (!indices->j.empty()) fill_index(name, kExpert, indices->j);
    forms.push_back({std::move(name), rule.steps, rule.stacks});
  }
  return forms;
}

std::string NameMap::stored_name(std::string_view hub_name) const {
  std::vector<StoredForm> forms = stored_forms(hub_name);
  return forms.empty() ? std::string(hub_name) : std::move(forms.front().name);
}

std::map<std::string, HubTensor, std::less<>> NameMap::apply(const Checkpoint& checkpoint) const {
  std::map<std::string, HubTensor, std::less<>> hub;
  std::map<std::string, std::map<uint64_t, HubTensor>> stacks;
  const auto add = [&](std::string name, HubTensor tensor) {
    const auto [it, is_new] = hub.try_emplace(std::move(name), std::move(tensor));
    if (!is_new) refuse_second(it->second.first(), tensor.first(), it->first);
  };
  for (const CheckpointTensor& stored : checkpoint.tensors()) {
    bool mapped = false;
    for (const Rule& rule : rules_) {
      const auto indices = match_pattern(rule.stored, stored.name);
      if (!indices) continue;
      mapped = true;
      std::string name = rule.hub;
      fill_index(name, kLayer, indices->i);
      fill_index(name, kExpert, indices->j);
      HubTensor tensor = hub_tensor(stored, rule.steps);
      if (!rule.stacks) {
        add(std::move(name), std::move(tensor));
        continue;
      }
      const auto [it, is_new] = stacks[name].try_emplace(index_of(indices->j, stored), std::move(tensor));
      if (!is_new) refuse_second(it->second.first(), stored, name);
    }
    if (!mapped) add(std::string(stored.name), hub_tensor(stored, {}));
  }
  for (const auto& [name, parts] : stacks) add(name, stack(name, parts));
  return hub;
}

}  // namespace llmhost::model
