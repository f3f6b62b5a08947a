#include "serve/mcp/mcp_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/error.h"

namespace llmhost::serve::mcp {
namespace {

// JSON-RPC 2.0, section 5.1.
constexpr int kParseError = -32700;
constexpr int kInvalidRequest = -32600;
constexpr int kMethodNotFound = -32601;
constexpr int kInvalidParams = -32602;

constexpr JsonLimits kMessageLimits{.max_bytes = size_t{4} << 20, .max_depth = 64};

// Newest first: what a client is offered that asks for a version unknown here.
constexpr std::array<std::string_view, 4> kVersions = {"2025-11-25", "2025-06-18", "2025-03-26",
                                                       "2024-11-05"};

class RpcError : public std::runtime_error {
 public:
  RpcError(int rpc_code, const std::string& message) : std::runtime_error(message), code(rpc_code) {}
  int code;
};

std::string success(const OrderedJson& id, OrderedJson result) {
  return OrderedJson{{"jsonrpc", "2.0"}, {"id", id}, {"result", std::move(result)}}.dump();
}

std::string failure(const OrderedJson& id, int code, std::string_view message) {
  return OrderedJson{{"jsonrpc", "2.0"}, {"id", id}, {"error", {{"code", code}, {"message", message}}}}.dump(
      -1, ' ', false, OrderedJson::error_handler_t::replace);
}

OrderedJson tool_result(std::string_view text, bool is_error) {
  return {{"content", OrderedJson::array({OrderedJson{{"type", "text"}, {"text", text}}})},
          {"isError", is_error}};
}

// The endpoint's answer as the tool's: what the endpoint refuses is the tool's error, not the protocol's.
OrderedJson tool_result(const Tool& tool, const Response& response) {
  try {
    const OrderedJson body = parse_ordered_json(response.body, "answer");
    if (response.status >= 400) {
      const auto error = body.find("error");
      const bool has_message = error != body.end() && error->is_object() && error->contains("message");
      return tool_result(has_message ? error->at("message").get<std::string>() : response.body, true);
    }
    ToolAnswer answer = tool.answer(body);
    OrderedJson result = tool_result(answer.text, false);
    result["structuredContent"] = std::move(answer.structured);
    return result;
  } catch (const std::exception&) {
    return tool_result(fmt::format("the server answered {} in a form that was not expected", response.status),
                       true);
  }
}

std::string key_of(std::string_view client, const OrderedJson& id) {
  return fmt::format("{}\n{}", client, id.dump());
}

}  // namespace

struct McpServer::Message {
  explicit Message(std::string_view text) {
    OrderedJson json;
    try {
      json = parse_ordered_json(text, "message", kMessageLimits);
    } catch (const Error& error) {
      throw RpcError(kParseError, error.what());
    }
    if (!json.is_object()) throw RpcError(kInvalidRequest, "a message must be one JSON object");
    if (const auto found = json.find("id"); found != json.end()) {
      if (!found->is_string() && !found->is_number_integer())
        throw RpcError(kInvalidRequest, "id: expected a text or a whole number");
      id = *found;
      has_id = true;
    }
    const auto found = json.find("method");
    if (found == json.end()) {
      is_answer = json.contains("result") || json.contains("error");
      if (!is_answer) throw RpcError(kInvalidRequest, "method: it is missing");
      return;
    }
    if (!found->is_string()) throw RpcError(kInvalidRequest, "method: expected a text");
    method = found->get<std::string>();
    if (const auto given = json.find("params"); given != json.end()) {
      if (!given->is_object()) throw RpcError(kInvalidParams, "params: expected an object");
      params = *given;
    }
  }

  OrderedJson id;  // null for a notification
  bool has_id = false;
  bool is_answer = false;  // to a request of ours: there are none
  std::string method;
  OrderedJson params = OrderedJson::object();
};

McpServer::McpServer(Endpoint endpoint, std::string version)
    : endpoint_(std::move(endpoint)), version_(std::move(version)) {}

std::function<void()> McpServer::handle(std::string_view text, const Requester& from, Reply reply) {
  OrderedJson id;
  try {
    const Message message(text);
    id = message.id;
    if (!message.is_answer && message.has_id) return answer(message, from, reply);
    if (message.method == "notifications/cancelled" && message.params.contains("requestId"))
      give_up(key_of(from.client, message.params.at("requestId")));
    reply({});
  } catch (const RpcError& error) {
    reply(failure(id, error.code, error.what()));
  }
  return nullptr;
}

std::function<void()> McpServer::answer(const Message& message, const Requester& from, const Reply& reply) {
  if (message.method == "tools/call") return call_tool(message, from, reply);
  if (message.method == "initialize")
    reply(success(message.id, initialize(message)));
  else if (message.method == "ping")
    reply(success(message.id, OrderedJson::object()));
  else if (message.method == "tools/list")
    reply(success(message.id, list_tools(from.caller)));
  else
    throw RpcError(kMethodNotFound, fmt::format("method: '{}' is unknown", message.method));
  return nullptr;
}

OrderedJson McpServer::initialize(const Message& message) const {
  const auto asked = message.params.find("protocolVersion");
  const bool is_known = asked != message.params.end() && asked->is_string() &&
                        std::ranges::find(kVersions, asked->get_ref<const std::string&>()) != kVersions.end();
  return {{"protocolVersion", is_known ? asked->get<std::string>() : std::string(kVersions.front())},
          {"capabilities", {{"tools", {{"listChanged", false}}}}},
          {"serverInfo", {{"name", "llmhost"}, {"title", "llmhost"}, {"version", version_}}},
          {"instructions", "Lists and runs the language models and adapters of this server."}};
}

OrderedJson McpServer::list_tools(const Caller& caller) {
  OrderedJson tools = OrderedJson::array();
  for (const Tool& tool : all_tools())
    if (caller.may(tool.scope))
      tools.push_back({{"name", tool.name},
                       {"title", tool.title},
                       {"description", tool.description},
                       {"inputSchema", OrderedJson::parse(tool.input_schema)},
                       {"annotations",
                        {{"readOnlyHint", tool.read_only},
                         {"destructiveHint", !tool.read_only},
                         {"openWorldHint", false}}}});
  return {{"tools", std::move(tools)}};
}

std::function<void()> McpServer::call_tool(const Message& message, const Requester& from,
                                           const Reply& reply) {
  const auto name = message.params.find("name");
  if (name == message.params.end() || !name->is_string())
    throw RpcError(kInvalidParams, "params: 'name' must be a text");
  const Tool* tool = find_tool(name->get_ref<const std::string&>());
  // One that the caller may not use is not there for it.
  if (tool == nullptr || !from.caller.may(tool->scope))
    throw RpcError(kInvalidParams,
                   fmt::format("params: there is no tool '{}'", name->get_ref<const std::string&>()));
  EndpointCall call;
  try {
    const auto arguments = message.params.find("arguments");
    if (arguments != message.params.end() && !arguments->is_object())
      throw_invalid("arguments: expected an object");
    call = tool->request(arguments == message.params.end() ? OrderedJson::object() : *arguments);
  } catch (const Error& error) {
    reply(success(message.id, tool_result(error.what(), true)));
    return nullptr;
  }
  return start(*tool, call, message, from, reply);
}

std::function<void()> McpServer::start(const Tool& tool, const EndpointCall& call, const Message& message,
                                       const Requester& from, const Reply& reply) {
  const std::string key = key_of(from.client, message.id);
  // Before the call, whose answer may come before it returns, and takes it out again.
  {
    const std::lock_guard lock(running_->mutex);
    if (!running_->calls.emplace(key, Call{nullptr, reply}).second)
      throw RpcError(kInvalidRequest, "id: a request with this id is under way");
  }
  const auto take_out = [running = running_, key] {
    const std::lock_guard lock(running->mutex);
    return running->calls.erase(key) > 0;
  };
  std::function<void()> give_endpoint_up;
  try {
    give_endpoint_up =
        endpoint_(call, from, [take_out, tool = &tool, id = message.id, reply](Response response) {
          if (take_out()) reply(success(id, tool_result(*tool, response)));
        });
  } catch (const std::exception&) {
    if (take_out()) reply(success(message.id, tool_result("the server failed", true)));
    return nullptr;
  }
  bool is_over = true;
  {
    const std::lock_guard lock(running_->mutex);
    if (const auto found = running_->calls.find(key); found != running_->calls.end()) {
      found->second.give_up = give_endpoint_up;
      is_over = false;
    }
  }
  // Answered, or given up before there was something to give up.
  if (is_over) give_endpoint_up();
  return [this, key] { give_up(key); };
}

void McpServer::give_up(const std::string& key) {
  Call call;
  {
    const std::lock_guard lock(running_->mutex);
    const auto found = running_->calls.find(key);
    if (found == running_->calls.end()) return;
    call = std::move(found->second);
    running_->calls.erase(found);
  }
  if (call.give_up) call.give_up();
  call.reply({});
}

void McpServer::client_gone(std::string_view client) {
  const std::string prefix = fmt::format("{}\n", client);
  std::vector<std::string> gone;
  {
    const std::lock_guard lock(running_->mutex);
    for (auto at = running_->calls.lower_bound(prefix);
         at != running_->calls.end() && at->first.starts_with(prefix); ++at)
      gone.push_back(at->first);
  }
  for (const std::string& key : gone) give_up(key);
}

}  // namespace llmhost::serve::mcp
