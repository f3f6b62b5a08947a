// What other trainers call keys of a job file: such a name is too far from ours to be taken for a typo.
#pragma once

#include <string>
#include <string_view>

namespace llmhost::train {

// "; it is called 'training.batch_size' here", to be put at the end of an error; empty for names that nobody
// uses.
std::string foreign_name_hint(std::string_view name);

}  // namespace llmhost::train
