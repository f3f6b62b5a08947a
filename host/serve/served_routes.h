// Everything that the server answers, gathered: the endpoints of models, of the server itself, of admins, and
// of the model context protocol.
#pragma once

#include <functional>
#include <memory>

#include "serve/http/metrics.h"
#include "serve/http/router.h"
#include "serve/mcp/mcp_server.h"
#include "serve/models/configuration.h"
#include "serve/models/on_demand_pool.h"

namespace llmhost::serve {

// All arguments must outlive the router's use. `run_on_worker`: see ApiOptions.
void add_served_routes(Router& router, OnDemandPool& pool, Metrics& metrics, const ServeConfig& config,
                       std::function<bool()> is_draining,
                       std::function<bool(std::function<void()>)> run_on_worker = {});

// A model context protocol server whose tools are the router's routes. The router must outlive it.
std::shared_ptr<mcp::McpServer> make_mcp_server(const Router& router);

}  // namespace llmhost::serve
