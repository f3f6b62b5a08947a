// The whole server: models, routes, connections, signals.
#pragma once

#include "serve/models/configuration.h"

namespace llmhost::serve {

// Runs until SIGTERM or SIGINT: then it is not ready any more, running requests finish, and it ends; at a
// second signal at once. The exit code. Throws UsageError for what is wrong with the configuration, Error
// when the address cannot be had or a model that is to be there from the start cannot be loaded.
int run_server(const ServeConfig& config);

}  // namespace llmhost::serve
