// The parts of the table of parameters.
#pragma once

#include <vector>

#include "serve/api/parameters.h"

namespace llmhost::serve {

std::vector<Parameter> input_parameters();        // what is asked: model, messages, prompts
std::vector<Parameter> sampling_parameters();     // how tokens are chosen, and when the answer ends
std::vector<Parameter> output_parameters();       // the answer's form
std::vector<Parameter> generate_parameters();     // of /generate
std::vector<Parameter> unsupported_parameters();  // known, and refused or without effect

}  // namespace llmhost::serve
