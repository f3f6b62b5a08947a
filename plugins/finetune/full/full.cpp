// Full fine-tuning: the model's own weights are trained, all of them or those of chosen modules, and the
// result is a whole model.
#include <algorithm>
#include <optional>

#include "llmhost/finetune.hpp"
#include "peft/low_rank.h"
#include "peft/pattern.h"
#include "peft/settings.h"

namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(peft::kSettings) + ": " + what);
}

// Modules by a list of names or by a regular expression for the whole path. A name is a whole path, or some
// of its components in a row: "mlp" and "layers.0" stand for all that lies below them.
class Names {
 public:
  Names(const llmh::Settings& settings, const char* key) : key_(key), names_(settings.get_list(key)) {
    if (settings.is_list(key) || names_.empty() || is_all()) return;
    pattern_.emplace(names_.front(), std::string(peft::kSettings) + ": " + key, *budget_);
    names_.clear();
  }
  bool is_empty() const { return names_.empty() && !pattern_; }
  bool has(std::string_view path) const {
    if (pattern_) return pattern_->matches_whole(path);
    if (is_all()) return true;
    return std::any_of(names_.begin(), names_.end(),
                       [path](const auto& name) { return is_part(path, name); });
  }
  // Every name stands for a module.
  void check(const llmh_base_model& model) const {
    for (const std::string& name : names_) {
      const auto is_named = [&](const llmh_base_module* module) {
        return is_part(llmh::view(module->path), name);
      };
      if (!is_all() && std::none_of(model.modules, model.modules + model.n_modules, is_named))
        refuse(std::string(key_) + ": '" + name + "' names no module of this model");
    }
  }

 private:
  bool is_all() const { return names_.size() == 1 && names_.front() == "all"; }
  static bool is_part(std::string_view path, const std::string& name) {
    return ("." + std::string(path) + ".").find("." + name + ".") != std::string::npos;
  }

  const char* key_;
  std::vector<std::string> names_;
  std::unique_ptr<peft::MatchBudget> budget_ = std::make_unique<peft::MatchBudget>();
  std::optional<peft::Pattern> pattern_;
};

class Full : public llmh::Method {
 public:
  static void schema(llmh::Schema& schema) {
    schema.add_string_or_list(
        "target_modules", "all",
        "modules that are trained: all, a list of paths or parts of paths ('mlp', 'layers.0'), or "
        "a regular expression for whole paths");
    schema.add_string_or_list("freeze_modules", "[]",
                              "modules that are not, among them: a list or an expression", "exclude_modules");
    schema.add_string("task_type", "CAUSAL_LM", "what the model is for", "CAUSAL_LM");
  }

  explicit Full(const llmh::Settings& settings)
      : targets_(settings, "target_modules"), frozen_(settings, "freeze_modules") {
    if (targets_.is_empty()) refuse("target_modules is empty; name at least one module, or all");
  }

  void begin(const llmh_base_model& model) override {
    targets_.check(model);
    frozen_.check(model);
    bool is_any_chosen = false;
    for (uint32_t i = 0; i < model.n_modules; ++i)
      is_any_chosen |= is_chosen(llmh::view(model.modules[i]->path));
    if (!is_any_chosen) refuse("target_modules, without freeze_modules, names no module of this model");
  }

  // Weights that modules share stay shared, so all of these must be chosen.
  uint32_t choose(const llmh::Module& module) override {
    if (!is_chosen(module.path)) return 0;
    return LLMH_TUNE_WEIGHT | (module.has_bias ? LLMH_TUNE_BIAS : 0);
  }

  std::string file_name(std::string_view parameter) override { return std::string(parameter); }
  std::string config_json() override { return {}; }

  llmh::Fit applies(const llmh_base_model& model) override {
    constexpr double kBytesOfTraining = 16;  // weight, gradient and two moments in f32
    llmh::Fit fit = peft::fit_of_size(model, kBytesOfTraining, "weights, gradients and moments in f32");
    for (uint32_t i = 0; i < model.n_modules; ++i) {
      if ((model.modules[i]->flags & LLMH_MODULE_LOSSY) == 0) continue;
      const std::string lossy = "the base is stored in few bits, training starts at the decoded weights";
      return {LLMH_FIT_WARNING, fit.reason.empty() ? lossy : fit.reason + "; " + lossy};
    }
    return fit;
  }

 private:
  bool is_chosen(std::string_view path) const { return targets_.has(path) && !frozen_.has(path); }

  Names targets_;
  Names frozen_;
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Full);
