// The protocol's streamable HTTP transport at /mcp: a message a request, its answer as JSON.
#pragma once

#include <memory>

#include "serve/http/router.h"
#include "serve/mcp/mcp_server.h"

namespace llmhost::serve::mcp {

void add_mcp_routes(Router& router, std::shared_ptr<McpServer> server);

}  // namespace llmhost::serve::mcp
