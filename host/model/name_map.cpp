#include "model/name_map.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "plugin/status.h"

namespace llmhost::model {
namespace {

constexpr std::string_view kIndex = "{i}";

std::string to_string(llmh_str text) {
  return {text.ptr, static_cast<size_t>(text.len)};
}

std::string fill_index(const std::string& pattern, const std::string& index) {
  const size_t at = pattern.find(kIndex);
  return at == std::string::npos ? pattern : std::string(pattern).replace(at, kIndex.size(), index);
}

std::vector<int64_t> shape_after(const CheckpointTensor& stored, int32_t layout, int64_t arg0, int64_t arg1) {
  std::vector<int64_t> shape = stored.shape;
  const auto refuse = [&](std::string_view wanted) {
    throw_invalid("{}: tensor '{}' of shape [{}]: {}", stored.file, stored.name, fmt::join(shape, ","),
                  wanted);
  };
  if (layout == LLMH_LAYOUT_ROTARY_PAIRS) {
    const bool fits = !shape.empty() && arg0 > 0 && shape[0] % (2 * arg0) == 0;
    if (!fits) refuse(fmt::format("its rows cannot be split into rotary pairs of {} heads", arg0));
  } else if (layout == LLMH_LAYOUT_TRANSPOSED) {
    if (shape.size() == 2) std::swap(shape[0], shape[1]);
    if (shape.size() > 2) refuse("only matrices can be transposed");
  } else if (layout == LLMH_LAYOUT_ROWS) {
    const bool fits = !shape.empty() && 0 <= arg0 && arg0 < arg1 && arg1 <= shape[0];
    if (!fits) refuse(fmt::format("it has no rows {} to {}", arg0, arg1));
    shape[0] = arg1 - arg0;
  }
  return shape;
}

}  // namespace

std::optional<std::string> match_pattern(std::string_view pattern, std::string_view name) {
  const size_t at = pattern.find(kIndex);
  if (at == std::string_view::npos) return pattern == name ? std::optional<std::string>("") : std::nullopt;
  const std::string_view head = pattern.substr(0, at);
  const std::string_view tail = pattern.substr(at + kIndex.size());
  if (name.size() <= head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail))
    return std::nullopt;
  const std::string_view index = name.substr(head.size(), name.size() - head.size() - tail.size());
  const bool digits = std::all_of(index.begin(), index.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? std::optional<std::string>(index) : std::nullopt;
}

struct NameMap::Thunks {
  static NameMap& self(llmh_name_sink* sink) { return *reinterpret_cast<Table*>(sink)->owner; }
  static llmh_status* map(llmh_name_sink* sink, llmh_str hub, llmh_str stored, int32_t layout, int64_t arg0,
                          int64_t arg1) {
    return plugin::guard([&] {
      self(sink).add_rule({to_string(hub), to_string(stored), layout, arg0, arg1});
    });
  }
  static llmh_status* ignore(llmh_name_sink* sink, llmh_str stored) {
    return plugin::guard([&] { self(sink).ignored_.push_back(to_string(stored)); });
  }
};

NameMap::NameMap() : table_{{sizeof(llmh_name_sink), &Thunks::map, &Thunks::ignore}, this} {}

void NameMap::add_rule(Rule rule) {
  if (rule.layout < LLMH_LAYOUT_SAME || rule.layout > LLMH_LAYOUT_ROWS)
    throw_error(ErrorCode::kUnimplemented, "name rule for '{}': layout {} is newer than this host",
                rule.stored, rule.layout);
  rules_.push_back(std::move(rule));
}

bool NameMap::is_ignored(std::string_view stored_name) const {
  return std::any_of(ignored_.begin(), ignored_.end(), [&](const std::string& pattern) {
    return match_pattern(pattern, stored_name).has_value();
  });
}

std::map<std::string, HubTensor, std::less<>> NameMap::apply(const Checkpoint& checkpoint) const {
  std::map<std::string, HubTensor, std::less<>> hub;
  const auto add = [&](std::string name, const CheckpointTensor& stored, int32_t layout, int64_t arg0,
                       int64_t arg1) {
    const auto [it, is_new] = hub.emplace(
        std::move(name), HubTensor{&stored, shape_after(stored, layout, arg0, arg1), layout, arg0, arg1});
    if (!is_new)
      throw_invalid("{}: tensors '{}' and '{}' both stand for '{}'", stored.file, it->second.stored->name,
                    stored.name, it->first);
  };
  for (const CheckpointTensor& stored : checkpoint.tensors()) {
    bool mapped = false;
    for (const Rule& rule : rules_) {
      const auto index = match_pattern(rule.stored, stored.name);
      if (!index) continue;
      add(fill_index(rule.hub, *index), stored, rule.layout, rule.arg0, rule.arg1);
      mapped = true;
    }
    if (!mapped) add(std::string(stored.name), stored, LLMH_LAYOUT_SAME, 0, 0);
  }
  return hub;
}

}  // namespace llmhost::model
