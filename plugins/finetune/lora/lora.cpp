// LoRA (Hu et al. 2021, "LoRA: Low-rank adaptation of large language models"): beside a linear a branch of
// low rank, y + s (x A^T) B^T, that starts at zero. With the scale alpha / sqrt(r): Kalajdzievski 2023
// (rsLoRA). Tensors and config are PEFT's.
#include <cmath>

#include "llmhost/finetune.hpp"
#include "peft/config.h"
#include "peft/serving.h"

namespace {

class Lora : public llmh::Method {
 public:
  static void schema(llmh::Schema& schema) {
    schema.add_int("r", "8", "rank of the branches", 1, 65536);
    schema.add_float("lora_alpha", "16", "the branch is multiplied by lora_alpha / r", 0, 1e6);
    schema.add_bool("use_rslora", "false", "multiply by lora_alpha / sqrt(r) instead");
    schema.add_list("target_modules", "[q_proj, v_proj]",
                    "modules to adapt: names, ends of paths, or all-linear");
    schema.add_list("exclude_modules", "[]", "modules to leave alone among them: names or ends of paths");
  }

  explicit Lora(const llmh::Settings& settings)
      : rank_(settings.get_int("r")),
        alpha_(settings.get_float("lora_alpha")),
        uses_root_scale_(settings.get_bool("use_rslora")),
        targets_(settings.get_list("target_modules")),
        excluded_(settings.get_list("exclude_modules")) {
    if (targets_.empty())
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "target_modules is empty: name at least one module");
  }

  void begin(const llmh_base_model&) override { adapted_.clear(); }

  uint32_t choose(const llmh::Module& module) override {
    const bool is_chosen = module.is_linear() && !module.is_head() &&
                           llmh::is_target(module.path, targets_) && !llmh::is_target(module.path, excluded_);
    if (is_chosen) adapted_.push_back(module.path);
    return llmh::rewrite_if(is_chosen);
  }

  llmh::Tensor rewrite(llmh::Graph& graph, const llmh::Linear& linear) override {
    // Kaiming with a = sqrt(5) is a bound of 1 / sqrt(K).
    const llmh::Tensor a = graph.parameter(linear.path + ".lora_A.weight", {rank_, linear.in_features},
                                           LLMH_INIT_KAIMING_UNIFORM, std::sqrt(5.0F));
    const llmh::Tensor b =
        graph.parameter(linear.path + ".lora_B.weight", {linear.out_features, rank_}, LLMH_INIT_ZEROS);
    const llmh::Scope scope = graph.scope(linear.path);
    const llmh::Tensor narrow = scope.op(LLMH_OP_LINEAR, {linear.x, a});
    return linear.y + llmh::scale(scope.op(LLMH_OP_LINEAR, {narrow, b}), factor());
  }

  std::string config_json() override {
    std::string json =
        "{\"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", \"r\": " + std::to_string(rank_) +
        ", \"lora_alpha\": " + number(alpha_);
    if (uses_root_scale_) json += ", \"use_rslora\": true";
    // Whole paths cannot be misunderstood.
    return json + ", \"target_modules\": " + llmh::json(adapted_.empty() ? targets_ : adapted_) +
           ", \"bias\": \"none\", \"inference_mode\": true}\n";
  }

  static bool claims(std::string_view config_json) {
    return peft::kind_of(config_json) == peft::Kind::kPlain;
  }
  static void read(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
    peft::read_adapter(source, model, sink, {});
  }

 private:
  float factor() const {
    const auto rank = static_cast<double>(rank_);
    return static_cast<float>(alpha_ / (uses_root_scale_ ? std::sqrt(rank) : rank));
  }
  static std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", value);
    return text;
  }

  int64_t rank_;
  double alpha_;
  bool uses_root_scale_;
  std::vector<std::string> targets_;
  std::vector<std::string> excluded_;
  std::vector<std::string> adapted_;  // paths, as they were selected
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Lora);
