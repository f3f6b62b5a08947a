// Best effort: the recipe of a model that nobody described, read off its config, tensor names and shapes.
#pragma once

#include <string>
#include <vector>

#include "llmhost/arch.hpp"

namespace declarative {

// One choice, where it comes from, and how sure it is in percent.
struct Choice {
  std::string what, value, source;
  int certainty = 100;
};

struct Inferred {
  std::vector<Choice> choices;
  std::string text;  // a document of schema 1; empty: nothing was inferred
};

// Throws llmh::Error with what cannot be told, or with the reason why the model is none that this engine
// runs.
Inferred infer(const llmh::Model& model);

}  // namespace declarative
