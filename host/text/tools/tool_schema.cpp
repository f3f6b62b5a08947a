#include "text/tools/tool_schema.h"

#include <algorithm>

#include "core/error.h"
#include "text/tools/loose_value.h"

namespace llmhost::text {
namespace {

struct Types {
  bool known = false;  // the schema says something
  bool string = false;
  bool other = false;  // any type but string
  bool null = false;
};

void add_type(const std::string& type, Types& types) {
  types.known = true;
  if (type == "string") {
    types.string = true;
  } else if (type == "null") {
    types.null = true;
  } else {
    types.other = true;
  }
}

void add_literal(const OrderedJson& value, Types& types) {
  add_type(value.is_string() ? "string" : value.is_null() ? "null" : "other", types);
}

void collect(const OrderedJson& schema, int depth, Types& types) {
  if (!schema.is_object() || depth > 8) return;
  if (const auto type = schema.find("type"); type != schema.end()) {
    if (type->is_string()) add_type(type->get<std::string>(), types);
    if (type->is_array())
      for (const OrderedJson& one : *type)
        if (one.is_string()) add_type(one.get<std::string>(), types);
    return;
  }
  if (const auto values = schema.find("enum"); values != schema.end() && values->is_array())
    for (const OrderedJson& value : *values) add_literal(value, types);
  if (const auto value = schema.find("const"); value != schema.end()) add_literal(*value, types);
  for (const char* key : {"anyOf", "oneOf", "allOf"})
    if (const auto branches = schema.find(key); branches != schema.end() && branches->is_array())
      for (const OrderedJson& branch : *branches) collect(branch, depth + 1, types);
}

std::string as_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace

ToolSchemas::ToolSchemas(const std::vector<ToolDefinition>& tools) {
  for (const ToolDefinition& tool : tools) {
    OrderedJson parameters = OrderedJson::object();
    if (!tool.parameters.empty()) parameters = parse_ordered_json(tool.parameters, "tool " + tool.name);
    if (!parameters.is_object()) throw_invalid("tool {}: its parameters must be a JSON object", tool.name);
    tools_.push_back({tool.name, std::move(parameters)});
  }
}

const ToolSchemas::Tool* ToolSchemas::find(std::string_view name) const {
  const auto found =
      std::find_if(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == name; });
  return found == tools_.end() ? nullptr : &*found;
}

const OrderedJson* ToolSchemas::schema_of(std::string_view tool, std::string_view key) const {
  const Tool* known = find(tool);
  if (known == nullptr) return nullptr;
  const auto properties = known->parameters.find("properties");
  if (properties == known->parameters.end() || !properties->is_object()) return nullptr;
  const auto schema = properties->find(std::string(key));
  return schema == properties->end() ? nullptr : &*schema;
}

bool ToolSchemas::is_string(std::string_view tool, std::string_view key) const {
  Types types;
  if (const OrderedJson* schema = schema_of(tool, key)) collect(*schema, 0, types);
  return types.string && !types.other && !types.null;
}

std::string ToolSchemas::typed(std::string_view tool, std::string_view key, std::string_view text) const {
  Types types;
  if (const OrderedJson* schema = schema_of(tool, key)) collect(*schema, 0, types);
  const std::string_view bare = trimmed(text);
  if (types.string && !types.other && !(types.null && (bare == "null" || bare == "None")))
    return as_string(text);
  std::string json;
  if (!whole_loose_value(bare, json)) return as_string(text);
  // 'x' in quotation marks where nothing asks for a string is text that happens to be quoted, except as JSON.
  if (json.front() == '"' && (types.string || bare.front() == '\'')) return as_string(text);
  return json;
}

std::string ToolSchemas::parameter_at(std::string_view tool, size_t index) const {
  const Tool* known = find(tool);
  if (known == nullptr) return {};
  const auto properties = known->parameters.find("properties");
  if (properties == known->parameters.end() || !properties->is_object() || index >= properties->size())
    return {};
  auto at = properties->begin();
  std::advance(at, static_cast<std::ptrdiff_t>(index));
  return at.key();
}

}  // namespace llmhost::text
