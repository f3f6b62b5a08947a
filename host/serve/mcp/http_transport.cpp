#include "serve/mcp/http_transport.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "serve/http/gate.h"

namespace llmhost::serve::mcp {
namespace {

constexpr std::string_view kSession = "mcp-session-id";

// Ids of requests are unique within a session; a client without one has each request to itself.
std::string client_of(const HttpRequest& request) {
  const std::string_view session = request.header(kSession);
  return fmt::format("{}/{}", request.caller.tenant,
                     session.empty() ? std::string_view(request.id) : session);
}

bool is_initialize(std::string_view body) {
  return body.find("\"initialize\"") != std::string_view::npos;
}

void handle_message(McpServer& server, const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  Headers headers;
  if (request.header(kSession).empty() && is_initialize(request.body))
    headers.emplace_back("Mcp-Session-Id", new_request_id());
  const Requester from{request.caller, client_of(request),
                       [exchange](int64_t tokens) { exchange->charge_tokens(tokens); }};
  auto give_up =
      server.handle(request.body, from, [exchange, headers = std::move(headers)](std::string reply) {
        Response response;
        response.status = reply.empty() ? 202 : 200;
        response.body = std::move(reply);
        response.headers = headers;
        exchange->send(std::move(response));
      });
  if (give_up) exchange->on_close(std::move(give_up));
}

}  // namespace

void add_mcp_routes(Router& router, std::shared_ptr<McpServer> server) {
  router.add({"POST", "/mcp", Scope::kInfer,
              [server](const std::shared_ptr<Exchange>& exchange) { handle_message(*server, exchange); },
              "Model context protocol: one JSON-RPC message"});
  router.add({"DELETE", "/mcp", Scope::kInfer,
              [server](const std::shared_ptr<Exchange>& exchange) {
                server->client_gone(client_of(exchange->request()));
                exchange->send({});
              },
              "Model context protocol: the client's session ends"});
}

}  // namespace llmhost::serve::mcp
