#include "model/config_audit.h"

#include <algorithm>
#include <array>

namespace llmhost::model {
namespace {

// Keys of transformers' configs that describe the checkpoint, its training or default generation settings.
constexpr auto kBookkeeping = std::to_array<std::string_view>({
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_experts_implementation",
    "_flash_attn_2_enabled",
    "_from_model_config",
    "_model_name_or_path",
    "_name_or_path",
    "_num_labels",
    "_quantization_format",
    "_remove_final_layer_norm",
    "add_cross_attention",
    "architectures",
    "attn_implementation",
    "auto_map",
    "aux_loss_alpha",
    "bad_words_ids",
    "base_model",
    "begin_suppress_tokens",
    "bf16",
    "bos_token",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "cls_token_id",
    "compute_dtype",
    "cross_attention_hidden_size",
    "custom_generate",
    "custom_pipelines",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token",
    "eos_token_id",
    "ep_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "flash_attention",
    "flash_attn",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "fp16",
    "fp32",
    "generation_config",
    "gradient_checkpointing",
    "id2label",
    "ignore_index",
    "init_std",
    "initializer_factor",
    "initializer_range",
    "initializer_std",
    "is_composition",
    "is_decoder",
    "is_encoder_decoder",
    "is_reward_model",
    "keys_to_ignore_at_inference",
    "label2id",
    "language",
    "length_penalty",
    "license",
    "loss_type",
    "mask_token_id",
    "max_length",
    "min_length",
    "model_max_length",
    "model_name",
    "model_type",
    "name_or_path",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_router_logits",
    "output_scores",
    "pad_token",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "return_token_timestamps",
    "router_aux_loss_coef",
    "save_dtype",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "tokenizer_file",
    "tokenizer_name",
    "tokenizer_path",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "tp_size",
    "train_seq_len",
    "training_seq_len",
    "transformers.js_config",
    "transformers_version",
    "transformers_weights",
    "typical_p",
    "unk_token",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_training_support",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_flash_attn",
    "use_liger_kernel",
    "use_return_dict",
    "vocab_file",
    "z_loss_coefficient",
});

// Families of keys by their first part or a word in them.
constexpr auto kBookkeepingPrefixes = std::to_array<std::string_view>({
    "id2label.",
    "label2id.",
    "task_specific_params.",
    "auto_map.",
    "custom_pipelines.",
    "transformers.js_config.",
    "generation_config.",
});

}  // namespace

bool is_bookkeeping_key(std::string_view key) {
  if (std::find(kBookkeeping.begin(), kBookkeeping.end(), key) != kBookkeeping.end()) return true;
  const bool in_family = std::any_of(kBookkeepingPrefixes.begin(), kBookkeepingPrefixes.end(),
                                     [&](std::string_view prefix) { return key.starts_with(prefix); });
  // Dropout acts in training alone.
  if (in_family || key.ends_with("dropout") || key.ends_with("_pdrop") || key.ends_with("dropout_prob"))
    return true;
  // The config of a part of the model ("text_config.dtype") repeats the keys of a whole one.
  const size_t dot = key.find('.');
  return dot != std::string_view::npos && key.substr(0, dot).ends_with("_config") &&
         is_bookkeeping_key(key.substr(dot + 1));
}

std::vector<std::string> keys_that_matter(std::vector<std::string> keys) {
  std::erase_if(keys, [](const std::string& key) { return is_bookkeeping_key(key); });
  return keys;
}

}  // namespace llmhost::model
