// The protocol's stdio transport: a message a line on the input, answers a line each on the output.
#pragma once

#include <istream>
#include <ostream>

#include "serve/http/exchange.h"
#include "serve/mcp/mcp_server.h"

namespace llmhost::serve::mcp {

// Runs until the input ends and every call is answered or given up. One client, with this caller's rights.
void run_stdio(McpServer& server, const Caller& caller, std::istream& in, std::ostream& out);

}  // namespace llmhost::serve::mcp
