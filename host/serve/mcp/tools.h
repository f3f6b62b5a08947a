// The tools that a model context protocol client sees: each is one of the server's own endpoints, so that
// what a tool accepts, may do and answers is decided in one place. By default a client sees tools that only
// read and generate; those that load or unload need the admin scope.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/json.h"
#include "serve/http/exchange.h"

namespace llmhost::serve::mcp {

// The endpoint that a call of a tool becomes.
struct EndpointCall {
  std::string method;
  std::string path;
  std::string body;  // JSON, or empty
};

// What an answer of the endpoint is for the tool's caller.
struct ToolAnswer {
  std::string text;
  OrderedJson structured;  // an object
};

struct Tool {
  std::string_view name;
  std::string_view title;
  std::string_view description;
  std::string_view input_schema;  // JSON
  Scope scope;
  bool read_only;
  // Throw kInvalidArgument naming the argument.
  EndpointCall (*request)(const OrderedJson& arguments);
  ToolAnswer (*answer)(const OrderedJson& body);
};

std::span<const Tool> all_tools();
const Tool* find_tool(std::string_view name);

}  // namespace llmhost::serve::mcp
