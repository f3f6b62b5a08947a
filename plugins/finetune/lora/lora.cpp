// LoRA (Hu et al. 2021, "LoRA: Low-rank adaptation of large language models"): beside a linear a branch of
// low rank, y + s (x A^T) B^T, that starts at zero. With the scale alpha / sqrt(r): Kalajdzievski 2023
// (rsLoRA). Tensors and config are PEFT's.
#include "llmhost/finetune.hpp"
#include "peft/config.h"
#include "peft/low_rank.h"
#include "peft/serving.h"
#include "peft/settings.h"

namespace {

peft::AdapterConfig config_of(const llmh::Settings& settings) {
  if (settings.get_bool("use_dora"))
    throw llmh::Error(LLMH_INVALID_ARGUMENT,
                      "method: use_dora is true: that is the method dora, with the same keys");
  if (settings.get_bool("load_in_4bit"))
    throw llmh::Error(LLMH_INVALID_ARGUMENT,
                      "method: load_in_4bit is true: that is the method qlora, with the same keys");
  peft::AdapterConfig config = peft::read_branches(settings);
  config.has_branch_bias = settings.get_bool("lora_bias");
  return config;
}

class Lora : public peft::LowRankMethod {
 public:
  static void schema(llmh::Schema& schema) {
    peft::declare_branches(schema);
    schema.add_bool("lora_bias", "false", "a trained bias in each branch");
    schema.add_bool("use_dora", "false", "true is the method dora");
    schema.add_bool("load_in_4bit", "false", "true is the method qlora");
  }

  explicit Lora(const llmh::Settings& settings) : LowRankMethod(config_of(settings)) {}
  Lora(peft::AdapterConfig config, peft::FileNames names)
      : LowRankMethod(std::move(config), std::move(names)) {}

  static bool claims(std::string_view config_json) {
    return peft::kind_of(config_json) == peft::Kind::kPlain;
  }
  static std::unique_ptr<Lora> from_adapter(const llmh_adapter_source& source) {
    return std::make_unique<Lora>(peft::parse_config(llmh::view(source.config_json)),
                                  peft::FileNames(source));
  }
  static void read(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
    peft::read_adapter(source, model, sink, {});
  }
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Lora);
