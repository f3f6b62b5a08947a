// What the names of a checkpoint's tensors tell about those that should be there as well.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llmhost::model {

// Biases that some layers (or experts) have and others, which have the weight beside it, lack. An
// architecture that takes biases as they are stored would not miss them.
std::vector<std::string> missing_biases(const std::vector<std::string_view>& stored_names);

}  // namespace llmhost::model
