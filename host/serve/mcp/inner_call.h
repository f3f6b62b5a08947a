// One of the server's own routes, called inside the process: the same checks and the same answer as over
// HTTP.
#pragma once

#include <functional>

#include "serve/http/exchange.h"
#include "serve/http/router.h"
#include "serve/mcp/mcp_server.h"

namespace llmhost::serve::mcp {

// Runs the route's handler on this thread; `answered` is called once, from any thread, unless the call is
// given up before: by calling what is returned. Tokens are charged to `from`. What the caller may not do is
// answered with 403, an unknown route with 404. The router must outlive the answer.
std::function<void()> call_route(const Router& router, const EndpointCall& call, const Requester& from,
                                 std::function<void(Response)> answered);

}  // namespace llmhost::serve::mcp
