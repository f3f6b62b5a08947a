// Every setting of the program, in one schema: names, types, ranges, defaults, documentation. Command-line
// options, environment variables and YAML files all go by it (see core/config.h for their precedence).
#pragma once

#include "core/config.h"

namespace llmhost::engine {

const ConfigSchema& settings_schema();

}  // namespace llmhost::engine
