// What lies in a model's folder beside its weights: config, tokenizer, templates. Internal to what writes
// models.
#pragma once

#include <filesystem>
#include <string>

#include "model/checkpoint.h"

namespace llmhost::model {

// Copies tokenizer, templates, licence and the like, but neither weights nor config.json.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

struct ConfigChanges {
  std::string dtype;  // torch's name of it ("bfloat16"); empty: as it was
  bool drops_quantisation = false;
  std::string quantisation;  // JSON object for quantization_config; empty: none
  bool unties_head = false;
};

// config.json with the changes and otherwise as it is, keys in order.
std::string changed_config(const Checkpoint& checkpoint, const ConfigChanges& changes);

// "float32", "bfloat16" of an element type, and back (INVALID for other names).
std::string torch_dtype_name(llmh_dtype dtype);
llmh_dtype torch_dtype(std::string_view name);
// What the config says its weights are; INVALID when it does not.
llmh_dtype config_dtype(const Checkpoint& checkpoint);

}  // namespace llmhost::model
