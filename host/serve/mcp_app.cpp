#include "serve/mcp_app.h"

#include <iostream>
#include <memory>

#include "serve/http/metrics.h"
#include "serve/http/router.h"
#include "serve/mcp/stdio_transport.h"
#include "serve/models/host_loader.h"
#include "serve/models/on_demand_pool.h"
#include "serve/served_routes.h"

namespace llmhost::serve {
namespace {

Caller local_caller(bool is_admin) {
  Caller caller;
  caller.key_name = "local";
  caller.scopes = {Scope::kInfer};
  if (is_admin) caller.scopes.insert(caller.scopes.end(), {Scope::kAdapters, Scope::kAdmin});
  return caller;
}

}  // namespace

int run_mcp(const ServeConfig& config, bool is_admin) {
  check_configuration(config);
  Metrics metrics;
  Router router;
  // After what its last callbacks may still use.
  OnDemandPool pool(config, std::make_unique<HostLoader>(config.settings));
  add_served_routes(router, pool, metrics, config, [] { return false; });
  pool.start();
  const auto server = make_mcp_server(router);
  mcp::run_stdio(*server, local_caller(is_admin), std::cin, std::cout);
  if (const std::exception_ptr failure = pool.preload_failure()) std::rethrow_exception(failure);
  return 0;
}

}  // namespace llmhost::serve
