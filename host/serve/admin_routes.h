// Routes that load and unload models and adapters, and tell what a model would take.
#pragma once

namespace llmhost::serve {

class OnDemandPool;
class Router;

// The pool must outlive the router's use.
void add_admin_routes(Router& router, OnDemandPool& pool);

}  // namespace llmhost::serve
