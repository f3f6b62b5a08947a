// The endpoints of models: OpenAI's, those for tokens and templates, and /generate for clients of LoRA
// servers.
#pragma once

#include "serve/api/context.h"
#include "serve/http/metrics.h"
#include "serve/http/router.h"
#include "serve/models/model_pool.h"

namespace llmhost::serve {

// Adds the routes. Pool and metrics must outlive the router's last request.
void add_api_routes(Router& router, ModelPool& pool, Metrics& metrics, const ApiOptions& options);

}  // namespace llmhost::serve
