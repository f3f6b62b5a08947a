// QLoRA (Dettmers et al. 2023, "QLoRA: Efficient finetuning of quantized LLMs"): LoRA over a base in 4 bits.
// The base's linears become NormalFloat 4 (or fp4) when they are loaded; a base that is stored in few bits
// stays as it is. The adapter is a plain one.
#include "llmhost/finetune.hpp"
#include "peft/low_rank.h"
#include "peft/settings.h"

namespace {

peft::AdapterConfig config_of(const llmh::Settings& settings) {
  if (settings.get_bool("use_dora"))
    throw llmh::Error(LLMH_INVALID_ARGUMENT,
                      "method: use_dora is true: that is the method dora, which has load_in_4bit, too");
  peft::AdapterConfig config = peft::read_branches(settings);
  config.has_branch_bias = settings.get_bool("lora_bias");
  return config;
}

class Qlora : public peft::LowRankMethod {
 public:
  static void schema(llmh::Schema& schema) {
    peft::declare_branches(schema);
    schema.add_bool("lora_bias", "false", "a trained bias in each branch");
    schema.add_bool("use_dora", "false", "true is the method dora");
    peft::declare_four_bits(schema, true);
  }

  explicit Qlora(const llmh::Settings& settings)
      : LowRankMethod(config_of(settings)), request_(peft::read_four_bits(settings)) {
    if (request_.linear_dtype == LLMH_DTYPE_INVALID)
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "method: load_in_4bit is false: that is the method lora");
  }

  void base(llmh_base_request& request) override {
    request.linear_dtype = request_.linear_dtype;
    request.double_quant = request_.double_quant;
    request.compute_dtype = request_.compute_dtype;
  }

 private:
  llmh_base_request request_;
};

}  // namespace

LLMH_FINETUNE_PLUGIN(Qlora);
