#include "train/foreign_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace llmhost::train {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr auto kKeys = std::to_array<Pair>({
    {"base_model", "model"},
    {"model_name", "model"},
    {"model_name_or_path", "model"},
    {"base_model_name_or_path", "model"},
    {"pretrained_model_name_or_path", "model"},
    {"output_dir", "output"},
    {"output_path", "output"},
    {"peft_type", "method.name"},
    {"finetuning_type", "method.name"},
    {"lora_r", "method.r"},
    {"lora_target", "method.target_modules"},
    {"lora_target_modules", "method.target_modules"},
    {"lora_target_linear", "method.target_modules"},
    {"lora_modules_to_save", "method.modules_to_save"},
    {"dataset", "data.train"},
    {"datasets", "data.train"},
    {"dataset_name", "data.train"},
    {"dataset_path", "data.train"},
    {"train_file", "data.train"},
    {"train_data", "data.train"},
    {"training_file", "data.train"},
    {"path", "data.train"},
    {"test_datasets", "data.eval"},
    {"eval_dataset", "data.eval"},
    {"eval_data", "data.eval"},
    {"eval_file", "data.eval"},
    {"validation", "data.eval"},
    {"validation_file", "data.eval"},
    {"val_size", "data.eval_fraction"},
    {"val_set_size", "data.eval_fraction"},
    {"test_size", "data.eval_fraction"},
    {"validation_split", "data.eval_fraction"},
    {"type", "data.format"},
    {"dataset_type", "data.format"},
    {"dataset_format", "data.format"},
    {"sequence_len", "data.max_length"},
    {"seq_length", "data.max_length"},
    {"max_seq_len", "data.max_length"},
    {"max_seq_length", "data.max_length"},
    {"model_max_length", "data.max_length"},
    {"block_size", "data.max_length"},
    {"cutoff_len", "data.max_length"},
    {"sample_packing", "data.packing"},
    {"train_on_inputs", "data.loss_on"},
    {"train_on_prompt", "data.loss_on"},
    {"assistant_only_loss", "data.loss_on"},
    {"completion_only_loss", "data.loss_on"},
    {"template", "data.chat_template"},
    {"chat_template_path", "data.chat_template"},
    {"lr", "training.learning_rate"},
    {"num_train_epochs", "training.epochs"},
    {"num_epochs", "training.epochs"},
    {"n_epochs", "training.epochs"},
    {"lr_scheduler_type", "training.scheduler"},
    {"lr_scheduler", "training.scheduler"},
    {"warmup", "training.warmup_steps"},
    {"num_warmup_steps", "training.warmup_steps"},
    {"optim", "training.optimizer"},
    {"adam_beta1", "training.beta1"},
    {"adam_beta2", "training.beta2"},
    {"adam_epsilon", "training.eps"},
    {"gradient_clipping", "training.max_grad_norm"},
    {"max_norm", "training.max_grad_norm"},
    {"train_batch_size", "training.batch_size"},
    {"per_device_train_batch_size", "training.batch_size"},
    {"micro_batch_size", "training.micro_batch_tokens"},
    {"use_gradient_checkpointing", "training.gradient_checkpointing"},
    {"eval_steps", "training.eval_every"},
    {"evals_per_epoch", "training.eval_every"},
    {"eval_strategy", "training.eval_every"},
    {"evaluation_strategy", "training.eval_every"},
    {"save_steps", "training.checkpoint_every"},
    {"saves_per_epoch", "training.checkpoint_every"},
    {"save_strategy", "training.checkpoint_every"},
    {"save_total_limit", "training.keep_checkpoints"},
    {"load_best_model_at_end", "training.keep_best"},
    {"early_stopping_patience", "training.patience"},
    {"bf16", "training.dtype"},
    {"fp16", "training.dtype"},
    {"torch_dtype", "training.dtype"},
    {"logging_dir", "log.tensorboard"},
});

constexpr auto kOtherAdvice = std::to_array<Pair>({
    {"gradient_accumulation_steps",
     "training.batch_size is that of the whole step, training.micro_batch_tokens bounds what runs at once"},
    {"per_device_eval_batch_size", "evaluations run as many examples at once as steps do"},
    {"eval_batch_size", "evaluations run as many examples at once as steps do"},
    {"logging_steps", "log.trace and log.tensorboard have every step"},
    {"report_to", "log.trace, log.tensorboard and log.plot say where figures go"},
    {"wandb_project", "log.trace, log.tensorboard and log.plot say where figures go"},
    {"resume_from_checkpoint", "go on with llmhost finetune -c JOB.yaml --resume"},
    {"auto_resume_from_checkpoints", "go on with llmhost finetune -c JOB.yaml --resume"},
    {"device_map", "one device is trained on"},
    {"flash_attention", "attention is always computed in blocks"},
    {"special_tokens", "tokens are the model's own"},
});

template <size_t n>
std::string_view find(const std::array<Pair, n>& list, std::string_view name) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const Pair& p) { return p.first == name; });
  return found == list.end() ? std::string_view() : found->second;
}

}  // namespace

std::string foreign_name_hint(std::string_view name) {
  if (const std::string_view ours = find(kKeys, name); !ours.empty())
    return fmt::format("; it is called '{}' here", ours);
  if (const std::string_view advice = find(kOtherAdvice, name); !advice.empty())
    return fmt::format("; {}", advice);
  return {};
}

}  // namespace llmhost::train
