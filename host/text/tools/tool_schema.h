// The tools of a request: their names, and what types their parameters have.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "text/tools/tool_parser.h"

namespace llmhost::text {

class ToolSchemas {
 public:
  // Throws llmhost::Error where a tool's parameters are not a JSON object.
  explicit ToolSchemas(const std::vector<ToolDefinition>& tools);

  bool knows(std::string_view name) const { return find(name) != nullptr; }
  // JSON text of a value that was written as plain text.
  std::string typed(std::string_view tool, std::string_view key, std::string_view text) const;
  // Whether typed() makes a string of any text.
  bool is_string(std::string_view tool, std::string_view key) const;
  // The name of the parameter at a place in the schema's order; empty where there is none.
  std::string parameter_at(std::string_view tool, size_t index) const;

 private:
  struct Tool {
    std::string name;
    OrderedJson parameters;
  };
  const Tool* find(std::string_view name) const;
  const OrderedJson* schema_of(std::string_view tool, std::string_view key) const;

  std::vector<Tool> tools_;
};

}  // namespace llmhost::text
