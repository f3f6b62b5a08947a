// DoRA (Liu et al. 2024, "DoRA: Weight-decomposed low-rank adaptation"): the rows of W + s B A keep their
// direction and get trained lengths m, so that a row of the linear is multiplied by m / |W + s B A|. Tensors
// and config are PEFT's.
#include <cmath>

#include "llmhost/finetune.hpp"
#include "peft/config.h"
#include "peft/serving.h"

namespace {

// One row at a time: the row of W + s B A, then its length.
std::vector<float> row_scale(const peft::MagnitudeBranch& branch) {
  const auto k = static_cast<size_t>(branch.in_features);
  const auto rank = static_cast<size_t>(branch.rank);
  std::vector<float> factors(static_cast<size_t>(branch.out_features));
  std::vector<float> row(k);
  for (size_t n = 0; n < factors.size(); ++n) {
    std::copy_n(branch.weight.data() + n * k, k, row.data());
    for (size_t r = 0; r < rank; ++r) {
      const float factor = branch.scale * branch.b[n * rank + r];
      const float* const a = branch.a + r * k;
      for (size_t i = 0; i < k; ++i) row[i] += factor * a[i];
    }
    double sum = 0;
    for (const float value : row) sum += static_cast<double>(value) * static_cast<double>(value);
    factors[n] = static_cast<float>(static_cast<double>(branch.magnitudes[n]) / std::sqrt(sum));
  }
  return factors;
}

class Dora : public llmh::Method {
 public:
  static void schema(llmh::Schema& schema) {
    schema.add_int("r", "8", "rank of the branches", 1, 65536);
    schema.add_float("lora_alpha", "16", "the branch is multiplied by lora_alpha / r", 0, 1e6);
    schema.add_list("target_modules", "[q_proj, v_proj]",
                    "modules to adapt: names, ends of paths, or all-linear");
  }

  explicit Dora(const llmh::Settings& settings)
      : rank_(settings.get_int("r")),
        alpha_(settings.get_float("lora_alpha")),
        targets_(settings.get_list("target_modules")) {
    if (targets_.empty())
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "target_modules is empty: name at least one module");
  }

  uint32_t choose(const llmh::Module& module) override {
    return llmh::rewrite_if(module.is_linear() && llmh::is_target(module.path, targets_));
  }

  // The lengths start at those of the base's rows and no gradient passes through the norm; the interface has
  // words for neither.
  llmh::Tensor rewrite(llmh::Graph&, const llmh::Linear& linear) override {
    throw llmh::Error(LLMH_UNIMPLEMENTED,
                      "'" + linear.path + "': this method is served, not trained, so far; train with lora");
  }

  std::string config_json() override {
    char alpha[32];
    std::snprintf(alpha, sizeof alpha, "%.17g", alpha_);
    return "{\"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", \"use_dora\": true, \"r\": " +
           std::to_string(rank_) + ", \"lora_alpha\": " + alpha +
           ", \"target_modules\": " + llmh::json(targets_) +
           ", \"bias\": \"none\", \"inference_mode\": true}\n";
  }

  static bool claims(std::string_view config_json) {
    return peft::kind_of(config_json) == peft::Kind::kWithMagnitudes;
  }
  static void read(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
    peft::read_adapter(source, model, sink, row_scale);
  }

 private:
  int64_t rank_;
  double alpha_;
  std::vector<std::string> targets_;
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Dora);
