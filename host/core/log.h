// Diagnostics go to standard error, one line each; standard output is for results. Level from $LLMHOST_LOG or
// --log-level.
#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

namespace llmhost {

// Throws UsageError for an unknown level; known: trace debug info warn error off.
void init_logging(std::string_view level);

}  // namespace llmhost
