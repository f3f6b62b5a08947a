// Routes about the server itself: health, readiness, metrics, status.
#pragma once

#include <functional>

namespace llmhost::serve {

class Metrics;
class ModelPool;
class Router;

// All arguments must outlive the router's use.
void add_pool_routes(Router& router, ModelPool& pool, Metrics& metrics, std::function<bool()> is_draining);

}  // namespace llmhost::serve
