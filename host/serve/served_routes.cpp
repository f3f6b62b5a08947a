#include "serve/served_routes.h"

#include <fmt/format.h>

#include <utility>

#include "serve/admin_routes.h"
#include "serve/api/api.h"
#include "serve/mcp/http_transport.h"
#include "serve/mcp/inner_call.h"
#include "serve/page/page_routes.h"
#include "serve/pool_routes.h"

namespace llmhost::serve {
namespace {

ApiOptions api_options(const Settings& settings) {
  ApiOptions options;
  options.compat = settings.get_string("api.compat") == "lenient" ? Compat::kLenient : Compat::kStrict;
  options.default_model = settings.get_string("api.default_model");
  options.version = LLMHOST_VERSION;
  const std::string where = fmt::format("{}: api.grammar_cache", settings.at("api.grammar_cache").where);
  if (const uint64_t most = parse_bytes(settings.get_string("api.grammar_cache"), where); most > 0)
    options.grammar_cache_bytes = static_cast<size_t>(most);
  return options;
}

}  // namespace

void add_served_routes(Router& router, OnDemandPool& pool, Metrics& metrics, const ServeConfig& config,
                       std::function<bool()> is_draining,
                       std::function<bool(std::function<void()>)> run_on_worker) {
  add_page_routes(router);
  add_pool_routes(router, pool, metrics, std::move(is_draining));
  add_admin_routes(router, pool);
  ApiOptions options = api_options(config.settings);
  options.run_on_worker = std::move(run_on_worker);
  add_api_routes(router, pool, metrics, options);
  mcp::add_mcp_routes(router, make_mcp_server(router));
}

std::shared_ptr<mcp::McpServer> make_mcp_server(const Router& router) {
  return std::make_shared<mcp::McpServer>(
      [&router](const mcp::EndpointCall& call, const mcp::Requester& from,
                mcp::McpServer::Answered answered) {
        return mcp::call_route(router, call, from, std::move(answered));
      },
      LLMHOST_VERSION);
}

}  // namespace llmhost::serve
