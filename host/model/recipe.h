// What an architecture plugin worked out about a model (LLMH_RECIPE_INTERFACE): each choice with its source,
// and the whole as a description that may be edited.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "llmhost/arch.h"
#include "plugin/plugin.h"

namespace llmhost::model {

struct RecipeChoice {
  std::string what;       // "attention.rope.style"
  std::string value;      // "halves"
  std::string source;     // "config: rope_theta"
  int32_t certainty = 0;  // percent

  // Nothing in the checkpoint says so, and nothing contradicts it.
  bool is_guess() const { return certainty < 60; }
};

struct Recipe {
  std::vector<RecipeChoice> choices;  // in the plugin's order
  std::string text;                   // YAML
};

// Of an opened model, after names; empty when the plugin has none to tell. [control]
Recipe read_recipe(plugin::Plugin& plugin, llmh_arch_model* opened);

}  // namespace llmhost::model
