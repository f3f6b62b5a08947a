// The routes of the server. Default deny: what is not here does not exist, and each route states what a
// caller needs. Routes are added before the server starts and then only read.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/http/exchange.h"

namespace llmhost::serve {

struct Route {
  std::string method;   // "GET" answers HEAD too
  std::string pattern;  // "/v1/models/{id}"; a last "{id*}" takes the rest of the path, slashes included
  Scope scope = Scope::kAdmin;
  Handler handler;
  std::string doc;              // one line
  bool while_draining = false;  // answered while the server shuts down (health, metrics)
  bool at_once = false;  // never blocks and is cheap: answered on the I/O thread, however busy workers are
};

class Router {
 public:
  // Throws Error(kInternal) for a bad pattern, a second route of the same method and pattern, no handler or
  // no documentation: faults of the program.
  void add(Route route);

  struct Match {
    const Route* route = nullptr;
    std::vector<std::pair<std::string, std::string>> parameters;
    std::vector<std::string> allowed;  // the methods of this path: without a route 405, or 404 when empty
  };
  // A literal segment wins over a parameter.
  Match match(std::string_view method, const std::vector<std::string>& segments) const;

  // In the order they were added.
  std::vector<const Route*> routes() const;

 private:
  struct Entry {
    Route route;
    std::vector<std::string> segments;
    std::string rank;  // less is more specific
  };
  std::vector<std::unique_ptr<const Entry>> entries_;
};

}  // namespace llmhost::serve
