// Sparse training in two forms. Without an adapter: the linears of the blocks are trained under masks, fixed
// by magnitude or moved as RigL does, and the result is a whole model. With peft_type SHIRA: an adapter of
// entries of the weights. Either with attention that keeps the largest scores only.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <set>
#include <span>

#include "llmhost/finetune.hpp"
#include "masked_training.h"
#include "peft/choice.h"
#include "peft/low_rank.h"
#include "peft/settings.h"
#include "shira.h"
#include "shira_config.h"

namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(peft::kSettings) + ": " + what);
}

void declare(llmh::Schema& schema) {
  schema.add_string(
      "peft_type", "''",
      "empty: train under masks and write a whole model; SHIRA: train an adapter of single entries");
  schema.add_float("sparsity_ratio", "0.5", "part of the entries that are zero; 0: no masks", 0, 0.9999,
                   "sparsity");
  schema.add_string("sparsity_type", "unstructured",
                    "where the entries that stay may be: unstructured, or N:M ('2:4')");
  schema.add_bool(
      "use_rigl", "false",
      "move the masks: drop by magnitude, grow by gradient; true when a key of the updates is given");
  schema.add_int("mask_update_interval", "100", "steps from one update of the masks to the next", 1,
                 1'000'000'000);
  schema.add_float("mask_update_fraction", "0.3",
                   "part of the active entries that the first update moves, falling to 0", 0, 1);
  schema.add_int("rigl_end_step", "0", "no update from this step on; 0: three quarters of the steps", 0,
                 1'000'000'000);
  peft::declare_attention(schema);
  schema.add_int("r", "32", "of SHIRA: r * (inputs + outputs) entries of a weight are trained", 1, 65536);
  schema.add_string("mask_type", "random", "of SHIRA: which entries", "random|top_magnitude");
  schema.add_int("random_seed", "0", "of SHIRA: seed of the random entries", 0, 9'007'199'254'740'991);
  peft::declare_targets(schema);
}

void refuse_given(const llmh::Settings& settings, std::span<const char* const> keys, const std::string& why) {
  for (const char* const key : keys)
    if (settings.is_given(key)) refuse(std::string(key) + " is given while " + why);
}

sparse::MaskOptions mask_options(const llmh::Settings& settings) {
  sparse::MaskOptions options;
  options.sparsity = settings.get_float("sparsity_ratio");
  sparse::parse_type(settings.get_string("sparsity_type"), options);
  if (options.group != 0) {
    const double implied = 1 - static_cast<double>(options.kept) / static_cast<double>(options.group);
    if (settings.is_given("sparsity_ratio") && std::abs(options.sparsity - implied) > 1e-6)
      refuse("sparsity_ratio is " + peft::json_number(options.sparsity) + ", but sparsity_type '" +
             settings.get_string("sparsity_type") + "' makes it " + peft::json_number(implied));
    options.sparsity = implied;
  }
  constexpr std::array kUpdateKeys = {"mask_update_interval", "mask_update_fraction", "rigl_end_step"};
  const bool is_update_given = std::any_of(kUpdateKeys.begin(), kUpdateKeys.end(),
                                           [&](const char* key) { return settings.is_given(key); });
  options.moves = settings.get_bool("use_rigl") || (is_update_given && !settings.is_given("use_rigl"));
  if (!options.moves) refuse_given(settings, kUpdateKeys, "use_rigl is false");
  if (options.moves && options.group != 0)
    refuse("use_rigl moves single entries, which sparsity_type '" + settings.get_string("sparsity_type") +
           "' does not allow; use unstructured");
  if (options.moves && options.sparsity == 0)
    refuse("use_rigl is true while sparsity_ratio is 0: there are no masks");
  options.interval = settings.get_int("mask_update_interval");
  options.fraction = settings.get_float("mask_update_fraction");
  options.end = settings.get_int("rigl_end_step");
  return options;
}

// What masked training chooses: plain linears of the blocks.
peft::AdapterConfig masked_targets(const llmh::Settings& settings) {
  constexpr std::array kShiraKeys = {"r", "mask_type", "random_seed"};
  refuse_given(settings, kShiraKeys, "peft_type is not SHIRA");
  peft::AdapterConfig config;
  peft::read_targets(settings, config);
  if (!config.saved.empty())
    refuse("modules_to_save is for adapters (peft_type: SHIRA); masked training writes a whole model");
  return config;
}

sparse::ShiraTraining shira_of(const llmh::Settings& settings) {
  constexpr std::array kMaskKeys = {"sparsity_ratio",       "sparsity_type",        "use_rigl",
                                    "mask_update_interval", "mask_update_fraction", "rigl_end_step"};
  refuse_given(settings, kMaskKeys, "peft_type is SHIRA, which has no masks");
  peft::AdapterConfig config;
  config.rank = settings.get_int("r");
  peft::read_targets(settings, config);
  return {std::move(config),
          {settings.get_string("mask_type") == "top_magnitude",
           static_cast<uint64_t>(settings.get_int("random_seed"))}};
}

class Sparse : public llmh::SteppedMethod {
 public:
  static void schema(llmh::Schema& schema) { declare(schema); }

  explicit Sparse(const llmh::Settings& settings) {
    const std::string type = settings.get_string("peft_type");
    top_k_ratio_ = peft::read_attention(settings);
    if (type == "SHIRA" || type == "shira") {
      shira_ = std::make_unique<sparse::ShiraTraining>(shira_of(settings));
      return;
    }
    if (!type.empty()) refuse("peft_type is '" + type + "', expected nothing or SHIRA");
    options_ = mask_options(settings);
    targets_ = masked_targets(settings);
    masks_ = std::make_unique<sparse::MaskedTraining>(options_);
  }
  explicit Sparse(const llmh_adapter_source& source)
      : shira_(std::make_unique<sparse::ShiraTraining>(source)) {}

  void begin(const llmh_base_model& model) override {
    if (shira_ != nullptr) return shira_->begin(model);
    check_no_experts(model);
    choice_ = std::make_unique<peft::Choice>(targets_, model);
    for (uint32_t i = 0; i < model.n_modules; ++i)
      if (choice_->at(i).branch && !is_all_linear()) check_can_be_masked(*model.modules[i]);
    std::set<std::string, std::less<>> transposed;
    for (uint32_t i = 0; i < model.n_modules; ++i) {
      const llmh_base_module& module = *model.modules[i];
      if (choice_->at(i).branch) check_groups(module);
      if ((module.flags & LLMH_MODULE_TRANSPOSED) != 0)
        transposed.insert(std::string(llmh::view(module.path)) + ".weight");
    }
    masks_->set_transposed(std::move(transposed));
  }

  uint32_t choose(const llmh::Module& module) override {
    if (shira_ != nullptr) return shira_->choice().at(module.index).bits;
    const bool is_chosen = choice_->at(module.index).branch && module.is_linear() && module.is_in_block();
    return is_chosen ? LLMH_TUNE_WEIGHT : 0;
  }

  llmh::Tensor rewrite(llmh::Graph& graph, const llmh::Linear& linear) override {
    return shira_ != nullptr ? shira_->rewrite(graph, linear) : SteppedMethod::rewrite(graph, linear);
  }
  std::string file_name(std::string_view parameter) override {
    return shira_ != nullptr ? shira_->choice().file_name(parameter) : std::string(parameter);
  }
  std::string config_json() override { return shira_ != nullptr ? shira_->config_json() : std::string(); }
  bool file_tensor(uint32_t index, llmh_file_tensor& out) override {
    return shira_ != nullptr && shira_->file_tensor(index, out);
  }
  float top_k_ratio(std::string_view, float of_model) override {
    return top_k_ratio_ > 0 ? top_k_ratio_ : of_model;
  }

  llmh::Fit applies(const llmh_base_model& model) override {
    constexpr double kBytesOfTraining = 16;  // weight, gradient and two moments in f32
    if (shira_ != nullptr) return peft::fit_of_adapter(model);
    try {
      check_no_experts(model);
    } catch (const llmh::Error& error) {
      return {LLMH_FIT_NO, error.what()};
    }
    return peft::fit_of_size(model, kBytesOfTraining, "weights, gradients and moments in f32");
  }

  void start(std::span<const llmh::TunedTensor> tensors) override {
    if (masks_ != nullptr) masks_->start(tensors);
  }
  bool before_update(const llmh_step_info& step, std::span<const llmh::TunedTensor> tensors) override {
    return masks_ == nullptr || masks_->before_update(step, tensors);
  }
  void after_update(const llmh_step_info&, std::span<const llmh::TunedTensor> tensors) override {
    if (masks_ != nullptr) masks_->after_update(tensors);
  }
  std::string state() override { return masks_ != nullptr ? masks_->state() : std::string(); }
  void set_state(std::string_view state) override {
    if (masks_ != nullptr) return masks_->set_state(state);
    if (!state.empty()) refuse("the saved state is of another form of this method");
  }

  static bool claims(std::string_view config_json) { return sparse::is_shira(config_json); }
  static std::unique_ptr<Sparse> from_adapter(const llmh_adapter_source& source) {
    return std::make_unique<Sparse>(source);
  }
  static void read(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
    sparse::read_shira(source, model, sink);
  }

 private:
  bool is_all_linear() const { return peft::is_all_linear(targets_.targets); }

  // Most of such a model would stay dense and frozen, which nobody means by a sparse model.
  void check_no_experts(const llmh_base_model& model) const {
    if (!is_all_linear() || options_.sparsity == 0) return;
    for (uint32_t i = 0; i < model.n_modules; ++i)
      if ((model.modules[i]->flags & LLMH_MODULE_EXPERTS) != 0)
        throw llmh::Error(
            LLMH_INVALID_ARGUMENT,
            "the stacked weights of experts have no masks: most of the model would stay dense; name "
            "target_modules, or train an adapter (peft_type: SHIRA)");
  }

  static void check_can_be_masked(const llmh_base_module& module) {
    const bool is_block_linear =
        module.kind == LLMH_MODULE_LINEAR && (module.flags & LLMH_MODULE_IN_BLOCK) != 0;
    if (!is_block_linear)
      refuse("target_modules names '" + std::string(llmh::view(module.path)) +
             "', which is no linear of the blocks; only those have masks");
  }

  void check_groups(const llmh_base_module& module) const {
    if (options_.group != 0 && module.in_features % options_.group != 0)
      refuse("sparsity_type has groups of " + std::to_string(options_.group) + ", the rows of '" +
             std::string(llmh::view(module.path)) + "' have " + std::to_string(module.in_features) +
             " entries; leave it out (exclude_modules) or use unstructured");
  }

  sparse::MaskOptions options_;
  peft::AdapterConfig targets_;
  std::unique_ptr<peft::Choice> choice_;
  std::unique_ptr<sparse::MaskedTraining> masks_;
  std::unique_ptr<sparse::ShiraTraining> shira_;
  float top_k_ratio_ = 0;
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Sparse);
