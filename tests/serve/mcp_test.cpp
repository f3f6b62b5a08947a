#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "serve/mcp/mcp_server.h"

namespace llmhost::serve::mcp {
namespace {

Caller caller_with(std::vector<Scope> scopes) {
  Caller caller;
  caller.key_name = "test";
  caller.scopes = std::move(scopes);
  return caller;
}

// A server whose endpoints are this test.
struct Fixture {
  McpServer server{[this](const EndpointCall& call, const Requester& from, McpServer::Answered answered) {
                     from.charge_tokens(7);
                     calls.push_back(call);
                     if (later) {
                       waiting = std::move(answered);
                     } else {
                       answered(response);
                     }
                     return [this] { ++given_up; };
                   },
                   "1.2.3"};
  std::vector<EndpointCall> calls;
  Response response;
  bool later = false;
  McpServer::Answered waiting;
  int given_up = 0;
  int64_t charged = 0;

  // The reply so far; one that comes later goes nowhere.
  std::string ask(std::string_view message, std::vector<Scope> scopes = {Scope::kInfer}) {
    const auto got = std::make_shared<std::string>("no reply");
    server.handle(message, {caller_with(std::move(scopes)), "client", [this](int64_t n) { charged += n; }},
                  [got](std::string reply) { *got = std::move(reply); });
    return *got;
  }
  OrderedJson ask_json(std::string_view message, std::vector<Scope> scopes = {Scope::kInfer}) {
    return OrderedJson::parse(ask(message, std::move(scopes)));
  }
};

std::vector<std::string> tool_names(const OrderedJson& reply) {
  std::vector<std::string> names;
  for (const OrderedJson& tool : reply.at("result").at("tools")) names.push_back(tool.at("name"));
  return names;
}

TEST_CASE("mcp: initialize takes the client's version where it is known, else offers the newest") {
  Fixture fixture;
  const auto version_for = [&](const std::string& version) {
    const auto reply =
        fixture.ask_json(R"({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":")" +
                         version + R"("}})");
    CHECK(reply.at("result").at("serverInfo").at("version") == "1.2.3");
    return reply.at("result").at("protocolVersion").get<std::string>();
  };
  CHECK(version_for("2024-11-05") == "2024-11-05");
  CHECK(version_for("2025-06-18") == "2025-06-18");
  CHECK(version_for("1999-01-01") == "2025-11-25");
}

TEST_CASE("mcp: F50: the tools read and generate unless the key has the admin scope") {
  Fixture fixture;
  const char* list = R"({"jsonrpc":"2.0","id":"a","method":"tools/list"})";
  const auto reply = fixture.ask_json(list);
  CHECK(reply.at("id") == "a");
  CHECK(tool_names(reply) ==
        std::vector<std::string>{"list_models", "list_adapters", "generate", "tokenize", "estimate_memory"});
  for (const OrderedJson& tool : reply.at("result").at("tools")) {
    CHECK(tool.at("annotations").at("readOnlyHint") == true);
    CHECK(tool.at("inputSchema").at("type") == "object");
  }
  CHECK(tool_names(fixture.ask_json(list, {Scope::kInfer, Scope::kAdmin})).size() == all_tools().size());
  CHECK(tool_names(fixture.ask_json(list, {})).empty());

  const char* load =
      R"({"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"load_model","arguments":{"model":"m"}}})";
  CHECK(fixture.ask_json(load).at("error").at("code") == -32602);
  CHECK(fixture.calls.empty());
  fixture.response.body = R"({"state":"loading"})";
  CHECK(fixture.ask_json(load, {Scope::kAdmin}).at("result").at("isError") == false);
  REQUIRE(fixture.calls.size() == 1);
  CHECK(fixture.calls[0].path == "/v1/models/load");
  CHECK(fixture.calls[0].body == R"({"model":"m"})");
}

TEST_CASE("mcp: a tool is the endpoint of the same meaning") {
  Fixture fixture;
  fixture.response.body =
      R"({"choices":[{"message":{"content":"Paris"},"finish_reason":"stop"}],"usage":{"total_tokens":9}})";
  const auto reply = fixture.ask_json(
      R"({"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"generate","arguments":)"
      R"({"model":"m","prompt":"Capital?","system":"Be short.","max_tokens":5,"seed":1}}})");
  REQUIRE(fixture.calls.size() == 1);
  CHECK(fixture.calls[0].method == "POST");
  CHECK(fixture.calls[0].path == "/v1/chat/completions");
  CHECK(OrderedJson::parse(fixture.calls[0].body) ==
        OrderedJson::parse(R"({"model":"m","messages":[{"role":"system","content":"Be short."},)"
                           R"({"role":"user","content":"Capital?"}],"max_tokens":5,"seed":1})"));
  CHECK(fixture.charged == 7);
  CHECK(reply.at("result").at("content").at(0).at("text") == "Paris");
  CHECK(reply.at("result").at("structuredContent").at("finish_reason") == "stop");

  fixture.response.body = R"({"choices":[{"text":" time","finish_reason":"length"}],"usage":{}})";
  const auto raw = fixture.ask_json(
      R"({"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"generate","arguments":)"
      R"({"model":"m","prompt":"Once upon a","raw":true,"max_tokens":1}}})");
  CHECK(fixture.calls.back().path == "/v1/completions");
  CHECK(OrderedJson::parse(fixture.calls.back().body) ==
        OrderedJson::parse(R"({"model":"m","prompt":"Once upon a","max_tokens":1})"));
  CHECK(raw.at("result").at("content").at(0).at("text") == " time");

  fixture.response.body = R"({"total":5})";
  fixture.ask(
      R"({"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"estimate_memory","arguments":)"
      R"({"model":"a/../b?c","context":64,"sequences":2}}})");
  CHECK(fixture.calls.back().path == "/v1/models/a%2F..%2Fb%3Fc/memory?context=64&sequences=2");
}

TEST_CASE("mcp: what an endpoint refuses, and wrong arguments, are errors of the tool with the reason") {
  Fixture fixture;
  fixture.response.status = 404;
  fixture.response.body = R"({"error":{"message":"there is no model 'x'"}})";
  const auto refused = fixture.ask_json(
      R"({"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"tokenize","arguments":{"model":"x","text":"t"}}})");
  CHECK(refused.at("result").at("isError") == true);
  CHECK(refused.at("result").at("content").at(0).at("text") == "there is no model 'x'");
  const auto wrong = fixture.ask_json(
      R"({"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"tokenize","arguments":{"model":"x","path":"/etc"}}})");
  CHECK(wrong.at("result").at("content").at(0).at("text") == "arguments: 'path' is none of this tool's");
  CHECK(fixture.calls.size() == 1);
}

TEST_CASE("mcp: messages that are none get the protocol's errors, notifications get no reply") {
  Fixture fixture;
  const auto code_of = [&](std::string_view message) {
    return fixture.ask_json(message).at("error").at("code").get<int>();
  };
  CHECK(code_of("{") == -32700);
  CHECK(code_of("[]") == -32600);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":{},"method":"ping"})") == -32600);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1})") == -32600);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1,"method":"server/discover"})") == -32601);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"none"}})") == -32602);
  CHECK(code_of(R"({"jsonrpc":"2.0","id":1,"method":"ping","params":[]})") == -32602);
  CHECK(fixture.ask(R"({"jsonrpc":"2.0","method":"notifications/initialized"})").empty());
  CHECK(fixture.ask_json(R"({"jsonrpc":"2.0","id":7,"method":"ping"})").at("result").empty());
}

TEST_CASE("mcp: calls are given up when they are cancelled and when the client goes") {
  Fixture fixture;
  fixture.later = true;
  const char* call = R"({"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"list_models"}})";
  CHECK(fixture.ask(call) == "no reply");
  CHECK(fixture.ask_json(call).at("error").at("code") == -32600);  // the id is in use
  CHECK(fixture.ask(R"({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":8}})")
            .empty());
  CHECK(fixture.given_up == 1);
  fixture.server.client_gone("client");
  fixture.waiting = nullptr;
  Fixture second;
  second.later = true;
  CHECK(second.ask(call) == "no reply");
  second.server.client_gone("somebody else");
  CHECK(second.given_up == 0);
  second.server.client_gone("client");
  CHECK(second.given_up == 1);
}

}  // namespace
}  // namespace llmhost::serve::mcp
