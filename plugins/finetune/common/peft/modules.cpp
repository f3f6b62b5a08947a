#include "peft/modules.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "llmhost/plugin.hpp"
#include "peft/json.h"

namespace peft {
namespace {

using std::string_view;

// Components that were renamed between versions of the library whose module paths the files have.
constexpr std::array<std::pair<string_view, string_view>, 2> kRenamed = {{
    {"embed_out", "lm_head"},
    {"block_sparse_moe", "mlp"},
}};
// What may stand before a model's own paths, or not.
constexpr std::array<string_view, 8> kWrappers = {"base_model", "model",       "language_model", "text_model",
                                                  "module",     "transformer", "gpt_neox",       "decoder"};

string_view first_component(string_view path) {
  return path.substr(0, path.find('.'));
}

bool is_index(string_view component) {
  return !component.empty() &&
         std::all_of(component.begin(), component.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The path without wrappers before it.
string_view core_of(string_view path) {
  while (true) {
    const string_view first = first_component(path);
    if (first.size() == path.size() ||
        std::find(kWrappers.begin(), kWrappers.end(), first) == kWrappers.end())
      return path;
    path.remove_prefix(first.size() + 1);
  }
}

std::vector<string_view> components(string_view path) {
  std::vector<string_view> parts;
  while (true) {
    parts.push_back(first_component(path));
    if (parts.back().size() == path.size()) return parts;
    path.remove_prefix(parts.back().size() + 1);
  }
}

// The path with each component `from` replaced by `to`.
std::string renamed(string_view path, string_view from, string_view to) {
  std::string result;
  for (const string_view part : components(path)) {
    if (!result.empty()) result += '.';
    result += part == from ? to : part;
  }
  return result;
}

// `name` is the path or its end after a dot.
bool is_path_or_end(string_view path, string_view name) {
  return path == name ||
         (path.size() > name.size() && path.ends_with(name) && path[path.size() - name.size() - 1] == '.');
}

bool is_in_layer(string_view path) {
  const auto parts = components(path);
  return std::any_of(parts.begin(), parts.end(), is_index);
}

std::optional<int64_t> layer_number(string_view digits) {
  if (digits.size() > 9) return std::nullopt;
  int64_t number = 0;
  for (const char digit : digits) number = number * 10 + (digit - '0');
  return number;
}

// The index of the layer that a path is in: the first number with two components before it and one behind it,
// or the one behind the first component that is among `names`.
std::optional<int64_t> layer_of(string_view path, const std::vector<std::string>& names) {
  const std::vector<string_view> parts = components(path);
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    if (names.empty()) {
      if (i >= 2 && is_index(parts[i])) return layer_number(parts[i]);
      continue;
    }
    if (std::find(names.begin(), names.end(), parts[i]) == names.end()) continue;
    return is_index(parts[i + 1]) ? layer_number(parts[i + 1]) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<Pattern> compiled(const ModuleNames& names, const std::string& source, const char* field,
                                MatchBudget& budget) {
  if (!names.is_pattern) return std::nullopt;
  return Pattern(names.pattern, source + ": " + field, budget);
}

// A key stands for the end of a path from a component's start on.
template <typename Value>
std::vector<Pattern> compiled_keys(const std::vector<std::pair<std::string, Value>>& entries,
                                   const std::string& source, const char* field, MatchBudget& budget) {
  std::vector<Pattern> keys;
  for (const auto& [key, value] : entries)
    keys.emplace_back("(.*\\.)?(" + key + ")", source + ": " + field, budget);
  return keys;
}

}  // namespace

ModuleTable::ModuleTable(const llmh_base_model& base) {
  for (uint32_t i = 0; i < base.n_modules; ++i)
    modules_.push_back({base.modules[i], i, {std::string(llmh::view(base.modules[i]->path))}});
  for (const Module& module : modules_) by_spelling_.emplace(module.path(), module.index);
  std::set<std::string> containers;
  for (Module& module : modules_) {
    const std::string path = module.path();
    for (const auto& [one, other] : kRenamed) {
      add(renamed(path, one, other), module.index);
      add(renamed(path, other, one), module.index);
    }
    for (const std::string& spelling : module.spellings)
      for (size_t dot = spelling.find('.'); dot != std::string::npos; dot = spelling.find('.', dot + 1))
        containers.insert(spelling.substr(0, dot));
  }
  for (const Module& module : modules_)
    for (const std::string& spelling : module.spellings) {
      const auto [known, is_new] = by_core_.emplace(core_of(spelling), module.index);
      if (!is_new && known->second != module.index) known->second.reset();
    }
  containers_.assign(containers.begin(), containers.end());
  for (const Module& module : modules_) {
    if ((module.base->flags & LLMH_MODULE_EXPERTS) == 0) continue;
    const size_t experts = module.path().find(".experts");
    const size_t end = experts != std::string::npos ? experts : module.path().rfind('.');
    if (end != std::string::npos) routed_.insert(module.path().substr(0, end + 1));
  }
}

// Another module's path is never taken from it.
void ModuleTable::add(string_view spelling, uint32_t index) {
  if (by_spelling_.emplace(spelling, index).second) modules_[index].spellings.emplace_back(spelling);
}

const Module* ModuleTable::resolve(string_view path) {
  if (const auto found = by_spelling_.find(std::string(path)); found != by_spelling_.end())
    return &modules_[found->second];
  const auto core = by_core_.find(std::string(core_of(path)));
  if (core == by_core_.end() || !core->second) return nullptr;
  add(path, *core->second);
  return &modules_[*core->second];
}

// A child of the module whose other child is the experts. It is no plain linear in the library: a config that
// says "all-linear" does not mean it there.
bool ModuleTable::is_router(const Module& module) const {
  return std::any_of(routed_.begin(), routed_.end(), [&](const std::string& block) {
    if (!module.path().starts_with(block)) return false;
    const string_view first = first_component(string_view(module.path()).substr(block.size()));
    return first == "gate" || first == "router";
  });
}

std::string written_path(string_view path) {
  std::string written(path);
  for (const auto& [old, current] : kRenamed) written = renamed(written, old, current);
  return written;
}

Selection::Selection(const AdapterConfig& config, const ModuleTable& table)
    : config_(config), table_(table), is_all_linear_(is_all_linear(config.targets)) {
  if (!is_all_linear_) target_pattern_ = compiled(config.targets, config.source, "target_modules", *budget_);
  if (config.excluded)
    excluded_pattern_ = compiled(*config.excluded, config.source, "exclude_modules", *budget_);
  rank_keys_ = compiled_keys(config.rank_pattern, config.source, "rank_pattern", *budget_);
  alpha_keys_ = compiled_keys(config.alpha_pattern, config.source, "alpha_pattern", *budget_);
  for (const Module& module : table.modules())
    if (module.base->kind == LLMH_MODULE_EMBEDDING)
      vocabulary_ = std::max(vocabulary_, module.base->in_features);
}

bool Selection::is_excluded(string_view path) const {
  if (!config_.excluded) return false;
  if (excluded_pattern_) return excluded_pattern_->matches_whole(path);
  const auto& names = config_.excluded->names;
  return std::any_of(names.begin(), names.end(),
                     [path](const auto& name) { return is_path_or_end(path, name); });
}

// The path is, holds as a component, or lies below a saved module.
bool Selection::is_below_saved(string_view path) const {
  const std::string dotted = "." + std::string(path) + ".";
  return std::any_of(config_.saved.begin(), config_.saved.end(), [&](const std::string& name) {
    return dotted.find("." + name + ".") != std::string::npos;
  });
}

bool Selection::is_layer_kept(string_view path) const {
  if (config_.layers.empty()) return true;
  const std::optional<int64_t> layer = layer_of(path, config_.layer_patterns);
  return layer && std::find(config_.layers.begin(), config_.layers.end(), *layer) != config_.layers.end();
}

bool Selection::is_target(string_view path) const {
  if (target_pattern_) return target_pattern_->matches_whole(path);
  const auto& names = config_.targets.names;
  if (std::find(names.begin(), names.end(), path) != names.end()) return true;
  return std::any_of(names.begin(), names.end(),
                     [path](const auto& name) { return is_path_or_end(path, name); }) &&
         is_layer_kept(path);
}

bool Selection::carries_branch(const Module& module) const {
  const auto& paths = module.spellings;
  if (std::any_of(paths.begin(), paths.end(), [this](const auto& path) { return is_excluded(path); }))
    return false;
  if (std::any_of(paths.begin(), paths.end(), [this](const auto& path) { return is_below_saved(path); }))
    return false;
  if (is_all_linear_) {
    const bool is_head = (module.base->flags & LLMH_MODULE_HEAD) != 0 ||
                         (module.base->out_features == vocabulary_ && !is_in_layer(module.path()));
    return module.base->kind == LLMH_MODULE_LINEAR && !is_head && !table_.is_router(module);
  }
  return std::any_of(paths.begin(), paths.end(), [this](const auto& path) { return is_target(path); });
}

std::optional<BranchShape> Selection::branch(const Module& module) const {
  if (!carries_branch(module)) return std::nullopt;
  const auto first_match = [&](const std::vector<Pattern>& keys) {
    return static_cast<size_t>(std::find_if(keys.begin(), keys.end(),
                                            [&](const Pattern& key) {
                                              return std::any_of(
                                                  module.spellings.begin(), module.spellings.end(),
                                                  [&](const auto& path) { return key.matches_whole(path); });
                                            }) -
                               keys.begin());
  };
  BranchShape shape;
  const size_t rank = first_match(rank_keys_);
  const size_t alpha = first_match(alpha_keys_);
  shape.rank = rank < rank_keys_.size() ? config_.rank_pattern[rank].second : config_.rank;
  shape.alpha = alpha < alpha_keys_.size() ? config_.alpha_pattern[alpha].second : config_.alpha;
  const auto divisor = static_cast<double>(shape.rank);
  shape.scale = static_cast<float>(shape.alpha / (config_.uses_root_scale ? std::sqrt(divisor) : divisor));
  return shape;
}

// A plain comparison of ends: "norm" is "input_layernorm" too. What lies below a saved container is saved
// with it.
bool Selection::is_saved(const Module& module) const {
  return std::any_of(module.spellings.begin(), module.spellings.end(), [&](const std::string& path) {
    for (size_t end = path.find('.'); true; end = path.find('.', end + 1)) {
      const string_view part = string_view(path).substr(0, end);
      if (std::any_of(config_.saved.begin(), config_.saved.end(),
                      [part](const auto& name) { return part.ends_with(name); }))
        return true;
      if (end == std::string::npos) return false;
    }
  });
}

bool Selection::is_for_a_branch(const Pattern& pattern) const {
  return std::any_of(table_.modules().begin(), table_.modules().end(), [&](const Module& module) {
    return std::any_of(module.spellings.begin(), module.spellings.end(),
                       [&](const std::string& path) { return pattern.matches_whole(path); }) &&
           carries_branch(module);
  });
}

void Selection::check_patterns_match() const {
  const auto refuse = [&](const char* field, const std::string& key) {
    throw llmh::Error(LLMH_INVALID_ARGUMENT, config_.source + ": " + field + ": '" + key +
                                                 "' is for none of the modules that get a branch");
  };
  for (size_t i = 0; i < rank_keys_.size(); ++i)
    if (!is_for_a_branch(rank_keys_[i])) refuse("rank_pattern", config_.rank_pattern[i].first);
  for (size_t i = 0; i < alpha_keys_.size(); ++i)
    if (!is_for_a_branch(alpha_keys_[i])) refuse("alpha_pattern", config_.alpha_pattern[i].first);
}

void Selection::check_no_container_is_target() const {
  if (is_all_linear_) return;
  for (const std::string& path : table_.containers())
    if (!is_excluded(path) && !is_below_saved(path) && is_target(path))
      throw llmh::Error(LLMH_INVALID_ARGUMENT,
                        config_.source + ": target_modules names '" + path +
                            "', which is neither a linear nor an embedding; name the modules in it");
}

}  // namespace peft
