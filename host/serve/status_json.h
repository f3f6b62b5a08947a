// What the server says of its models, as JSON.
#pragma once

#include <cstdint>

#include "core/json.h"
#include "serve/http/exchange.h"
#include "serve/models/model_pool.h"

namespace llmhost::serve {

Response json_response(const OrderedJson& body, int status = 200);

// `held`: all replicas and what is kept for adapters together.
OrderedJson memory_json(const engine::MemoryPlan& plan, uint64_t held, uint64_t adapters);

// Models, memory, requests: GET /status. `may_see` says of which models the caller is told.
OrderedJson status_json(const ModelPool& pool, const Caller& caller, double uptime_s);

}  // namespace llmhost::serve
