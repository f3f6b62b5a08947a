// The keys that methods of this format share, with the names and defaults that they have in the library.
// Throws llmh::Error with the key, its value and what was expected.
#pragma once

#include "llmhost/finetune.hpp"
#include "peft/config.h"

namespace peft {

// What errors call the settings of a job.
inline constexpr const char* kSettings = "method";

// Which modules: target_modules, exclude_modules, layers_to_transform, layers_pattern, modules_to_save.
void declare_targets(llmh::Schema& schema);
void read_targets(const llmh::Settings& settings, AdapterConfig& config);

// Low-rank branches on them: r, lora_alpha and what is beside them.
void declare_branches(llmh::Schema& schema);
AdapterConfig read_branches(const llmh::Settings& settings);

// The base in 4 bits. `is_on_by_default`: the key load_in_4bit need not be given.
void declare_four_bits(llmh::Schema& schema, bool is_on_by_default);
// Nothing of the base is asked for when load_in_4bit is false; then its details must not be given.
llmh_base_request read_four_bits(const llmh::Settings& settings);

// Attention to the keys of largest score only, in training: what serves an adapter sees all of them.
void declare_attention(llmh::Schema& schema);
// The part of the keys that a query sees; 0: as the model has it.
float read_attention(const llmh::Settings& settings);

// A value of a map or a list as a number.
int64_t whole_number(const std::string& where, const std::string& text, int64_t minimum, int64_t maximum);
double number(const std::string& where, const std::string& text);

}  // namespace peft
