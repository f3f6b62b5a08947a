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

// Who sent a message.
struct Requester {
  Caller caller;
  std::string client;                          // tells clients apart, whose ids of requests may be the same
  std::function<void(int64_t)> charge_tokens;  // against the caller's limit; may be empty
};

class McpServer {
 public:
  // Runs one of the server's endpoints for this caller and calls back once, from any thread. What it returns
  // gives the call up when it is called.
  using Answered = std::function<void(Response)>;
  using Endpoint = std::function<std::function<void()>(const EndpointCall&, const Requester&, Answered)>;

  McpServer(Endpoint endpoint, std::string version);

  // Calls `reply` once: with the answer as JSON text, or with an empty text when the message gets none. What
  // is returned gives a call up that is under way when it is called; it may be empty.
  using Reply = std::function<void(std::string)>;
  std::function<void()> handle(std::string_view message, const Requester& from, Reply reply);

  // Gives up the calls of a client that is gone.
  void client_gone(std::string_view client);

 private:
  struct Message;
  struct Call {
    std::function<void()> give_up;  // empty for a moment: the endpoint was not reached yet
    Reply reply;                    // of a call that is given up there is nothing to say
  };
  // Calls under way, so that they can be given up.
  struct Running {
    std::mutex mutex;
    std::map<std::string, Call, std::less<>> calls;  // by client and id
  };

  std::function<void()> answer(const Message& message, const Requester& from, const Reply& reply);
  std::function<void()> call_tool(const Message& message, const Requester& from, const Reply& reply);
  std::function<void()> start(const Tool& tool, const EndpointCall& call, const Message& message,
                              const Requester& from, const Reply& reply);
  void give_up(const std::string& key);
  OrderedJson initialize(const Message& message) const;
  static OrderedJson list_tools(const Caller& caller);

  Endpoint endpoint_;
  std::string version_;
  std::shared_ptr<Running> running_ = std::make_shared<Running>();
};

}  // namespace llmhost::serve::mcp
