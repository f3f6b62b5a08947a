// A model context protocol server (JSON-RPC 2.0, protocol of 2024-11-05 to 2025-11-25) without its transport:
// a message in, at most one message out. Stateless: every message stands for itself, so that one object
// serves all clients. [thread-safe]
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "core/json.h"
#include "serve/http/exchange.h"
#include "serve/mcp/tools.h"

namespace llmhost::serve::mcp {

class McpServer {
 public:
  // Runs one of the server's endpoints for this caller and calls back once, from any thread. What it returns
  // gives the call up when it is called.
  using Answered = std::function<void(Response)>;
  using Endpoint = std::function<std::function<void()>(const EndpointCall&, const Caller&, Answered)>;

  McpServer(Endpoint endpoint, std::string version);

  // Calls `reply` once: with the answer as JSON text, or with an empty text when the message gets none.
  // `client` tells clients apart, whose ids of requests may be the same.
  using Reply = std::function<void(std::string)>;
  void handle(std::string_view message, const Caller& caller, std::string_view client, Reply reply);

  // Gives up the calls of a client that is gone.
  void client_gone(std::string_view client);

 private:
  struct Message;
  // Calls under way, so that they can be given up.
  struct Running {
    std::mutex mutex;
    std::map<std::string, std::function<void()>, std::less<>> give_up;  // by client and id
  };

  void answer(const Message& message, const Caller& caller, std::string_view client, const Reply& reply);
  void call_tool(const Message& message, const Caller& caller, std::string_view client, const Reply& reply);
  void cancel(const Message& message, std::string_view client);
  OrderedJson initialize(const Message& message) const;
  static OrderedJson list_tools(const Caller& caller);

  Endpoint endpoint_;
  std::string version_;
  std::shared_ptr<Running> running_ = std::make_shared<Running>();
};

}  // namespace llmhost::serve::mcp
