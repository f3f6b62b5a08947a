#include "peft/choice.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "peft/tied.h"

namespace peft {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr size_t kMaxShownNames = 24;

[[noreturn]] void refuse(const AdapterConfig& config, const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, config.source + ": " + what);
}

// The last components of the paths that a branch can be on, for errors.
std::string names_of(const ModuleTable& table) {
  std::set<std::string> names;
  for (const Module& module : table.modules()) {
    if (module.base->kind != LLMH_MODULE_LINEAR && module.base->kind != LLMH_MODULE_EMBEDDING) continue;
    names.insert(module.path().substr(module.path().rfind('.') + 1));
  }
  std::string text;
  size_t n = 0;
  for (const std::string& name : names) {
    if (++n > kMaxShownNames) return text + ", ...";
    text += (text.empty() ? "" : ", ") + name;
  }
  return text.empty() ? "none" : text;
}

bool is_path_or_end(std::string_view path, std::string_view name) {
  return path == name ||
         (path.size() > name.size() && path.ends_with(name) && path[path.size() - name.size() - 1] == '.');
}

// Every name of a list stands for a module, or it is a slip of the pen.
void check_names_match(const AdapterConfig& config, const ModuleTable& table, const char* key,
                       const std::vector<std::string>& names, bool also_below) {
  for (const std::string& name : names) {
    size_t n_experts = 0;
    size_t n_others = 0;
    for (const Module& module : table.modules()) {
      const bool matches =
          std::any_of(module.spellings.begin(), module.spellings.end(), [&](const std::string& path) {
            return is_path_or_end(path, name) ||
                   (also_below &&
                    (path.ends_with(name) || (path + ".").find(name + ".") != std::string::npos));
          });
      if (matches) ++((module.base->flags & LLMH_MODULE_EXPERTS) != 0 ? n_experts : n_others);
    }
    if (n_others > 0 || (n_experts > 0 && config.excluded && &names == &config.excluded->names)) continue;
    refuse(config,
           std::string(key) + ": '" + name + "' names " +
               (n_experts > 0 ? "nothing but the stacked weights of experts, which no adapter changes here"
                              : "no module of this model; it has " + names_of(table)));
  }
}

void check_branch(const AdapterConfig& config, const Module& module) {
  const std::string target = "target_modules names '" + module.path() + "', ";
  const llmh_base_module& base = *module.base;
  if (base.kind != LLMH_MODULE_LINEAR && base.kind != LLMH_MODULE_EMBEDDING)
    refuse(config, target + "which is neither a linear nor an embedding");
  if (base.kind == LLMH_MODULE_EMBEDDING && (config.has_magnitudes || config.has_branch_bias))
    refuse(config, target + "an embedding, which has no " +
                       (config.has_magnitudes ? "magnitudes" : "bias of its branch (lora_bias)") + " here");
}

}  // namespace

Choice::Choice(const AdapterConfig& config, const llmh_base_model& model)
    : bias_(config.bias), base_name_(llmh::view(model.name)) {
  const ModuleTable table(model);
  if (config.start != BranchStart::kOther) {
    check_names_match(config, table, "target_modules", config.targets.names, false);
    if (config.excluded) check_names_match(config, table, "exclude_modules", config.excluded->names, false);
    check_names_match(config, table, "modules_to_save", config.saved, true);
  }
  choose(config, model, table);
}

void Choice::choose(const AdapterConfig& config, const llmh_base_model& model, const ModuleTable& table) {
  const Selection selection(config, table);
  selection.check_no_container_is_target();
  if (config.start != BranchStart::kOther) selection.check_patterns_match();
  size_t n_branches = 0;
  for (const Module& module : table.modules()) {
    const llmh_base_module& base = *module.base;
    Chosen chosen{module.path(), base.kind, 0, (base.flags & LLMH_MODULE_HEAD) != 0,
                  selection.branch(module)};
    // In the library stacked experts are no linear: a name such as down_proj means the linears beside them.
    if ((base.flags & LLMH_MODULE_EXPERTS) != 0) chosen.branch.reset();
    if (chosen.branch) {
      check_branch(config, module);
      chosen.bits |= LLMH_TUNE_REWRITE;
      ++n_branches;
    } else if (selection.is_saved(module)) {
      if (base.kind == LLMH_MODULE_FIXED)
        refuse(config, "modules_to_save names '" + module.path() +
                           "', which no adapter can replace here: it is no plain linear, embedding or norm");
      chosen.bits |= LLMH_TUNE_WEIGHT | LLMH_TUNE_UNTIED | (base.has_bias != 0 ? LLMH_TUNE_BIAS : 0);
    }
    const bool trains_bias =
        bias_ == TrainedBias::kAll || (bias_ == TrainedBias::kLoraOnly && chosen.branch.has_value());
    if (trains_bias && base.has_bias != 0 && base.kind != LLMH_MODULE_FIXED) chosen.bits |= LLMH_TUNE_BIAS;
    if (chosen.branch && (chosen.bits & LLMH_TUNE_BIAS) != 0)
      bias_names_.emplace(module.path() + ".bias", library_name(module.path()) + ".base_layer.bias");
    modules_.push_back(std::move(chosen));
  }
  if (config.ties_weights)
    refuse_tied(config, model, table, [this](const Module& module) { return at(module.index).bits != 0; });
  if (n_branches == 0)
    refuse(config,
           "target_modules, with what limits it, names no linear or embedding of this model; it has " +
               names_of(table));
}

std::string Choice::file_name(std::string_view parameter) const {
  if (const auto bias = bias_names_.find(parameter); bias != bias_names_.end()) return bias->second;
  return library_name(parameter);
}

std::string library_name(std::string_view parameter) {
  return std::string(kPrefix) + written_path(parameter);
}

std::string Choice::copy_name(const std::string& path) {
  return library_name(path) + ".base_layer.weight";
}

std::string Choice::shared_json(std::string_view peft_type) const {
  std::vector<std::string> targets;
  std::vector<std::string> saved;
  for (const Chosen& chosen : modules_) {
    if (chosen.branch) targets.push_back(written_path(chosen.path));
    if ((chosen.bits & LLMH_TUNE_WEIGHT) != 0) saved.push_back(written_path(chosen.path));
  }
  std::string json =
      "\"peft_type\": " + llmh::json(peft_type) +
      ", \"task_type\": \"CAUSAL_LM\", \"base_model_name_or_path\": " + llmh::json(base_name_) +
      ", \"inference_mode\": true, \"target_modules\": " + llmh::json(targets);
  if (!saved.empty()) json += ", \"modules_to_save\": " + llmh::json(saved);
  return json;
}

std::string json_number(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return error == std::errc() ? std::string(text, end) : "0";
}

}  // namespace peft
