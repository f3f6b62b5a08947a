// The model context protocol over standard input and output, without a listening socket.
#pragma once

#include "serve/models/configuration.h"

namespace llmhost::serve {

// Answers until the input ends. The exit code. `is_admin`: tools that load and unload models too. Throws as
// run_server does.
int run_mcp(const ServeConfig& config, bool is_admin);

}  // namespace llmhost::serve
