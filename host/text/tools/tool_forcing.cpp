#include "text/tools/tool_forcing.h"

#include "core/error.h"
#include "core/json.h"
#include "text/tools/mark_reader.h"

namespace llmhost::text {
namespace {

constexpr int kMaxDepth = 100;

// A tool's schema stands below "$defs" of the whole: references to its own root go there.
void move_references(OrderedJson& schema, const std::string& root, int depth) {
  if (depth > kMaxDepth) throw_invalid("tools: a schema is nested more than {} deep", kMaxDepth);
  if (schema.is_array())
    for (OrderedJson& item : schema) move_references(item, root, depth + 1);
  if (!schema.is_object()) return;
  for (auto& [key, value] : schema.items()) {
    if (key == "$ref" && value.is_string() && value.get<std::string>().starts_with("#")) {
      value = root + value.get<std::string>().substr(1);
    } else if (key != "const" && key != "enum" && key != "default" && key != "examples") {
      move_references(value, root, depth + 1);
    }
  }
}

OrderedJson arguments_schema(const ToolDefinition& tool, const std::string& root, bool any_object) {
  OrderedJson schema = OrderedJson::object();
  if (!tool.parameters.empty()) schema = parse_ordered_json(tool.parameters, "tool " + tool.name);
  if (!schema.is_object()) throw_invalid("tool {}: its parameters must be a JSON object", tool.name);
  if (any_object) schema = OrderedJson::object();
  if (!schema.contains("type")) schema["type"] = "object";
  schema.erase("$schema");
  schema.erase("$id");
  move_references(schema, root, 0);
  return schema;
}

OrderedJson closed_object(const OrderedJson& properties) {
  OrderedJson required = OrderedJson::array();
  for (const auto& [key, value] : properties.items()) required.push_back(key);
  return {{"type", "object"},
          {"properties", properties},
          {"required", required},
          {"additionalProperties", false}};
}

// {"name": …, "arguments": …} of one of the tools, or an array of such.
std::string calls_schema(const ToolFormat& format, const std::vector<ToolDefinition>& tools,
                         const ForcedOptions& options, bool array) {
  OrderedJson definitions = OrderedJson::object(), choices = OrderedJson::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string key = "tool" + std::to_string(i);
    definitions[key] = arguments_schema(tools[i], "#/$defs/" + key, options.any_object);
    OrderedJson properties = OrderedJson::object();
    properties[format.name_key] = {{"const", tools[i].name}};
    properties[format.arguments_key] = {{"$ref", "#/$defs/" + key}};
    choices.push_back(closed_object(properties));
  }
  OrderedJson call = choices.size() == 1 ? choices[0] : OrderedJson{{"anyOf", choices}};
  if (array)
    call = {{"type", "array"}, {"items", call}, {"minItems", 1}, {"maxItems", options.several ? 16 : 1}};
  call["$defs"] = definitions;
  return call.dump();
}

bool in_reasoning(const ToolFormat& format, std::string_view prompt_tail) {
  if (format.reasoning_open.empty()) return false;
  const size_t at = prompt_tail.rfind(format.reasoning_open);
  return at != std::string_view::npos &&
         trimmed(prompt_tail.substr(at + format.reasoning_open.size())).empty();
}

// The name is put behind the prompt, the model writes the arguments.
void force_named(const ToolDefinition& tool, const ForcedOptions& options, ForcedCalls& forced) {
  const ToolFormat& format = forced.format;
  const std::string end = format.name_ends.empty() || format.name_ends[0] == "{" ? "" : format.name_ends[0];
  forced.prefill += format.wrap_open + format.call_opens.at(0) + format.kind_mark + format.name_prefix +
                    tool.name + (format.name_number ? ":0" : "") + end;
  if (format.fence) forced.prefill += "```json\n";
  forced.suffix = (format.fence ? "\n```" : "") + format.call_close + format.wrap_close;
  forced.schema = arguments_schema(tool, "#", options.any_object).dump();
}

void force_recipient(const ToolDefinition& tool, const ForcedOptions& options, ForcedCalls& forced) {
  constexpr std::string_view kName = "{name}";
  std::string head = forced.format.call_head;
  head.replace(head.find(kName), kName.size(), tool.name);
  forced.prefill += head;
  forced.schema = arguments_schema(tool, "#", options.any_object).dump();
}

}  // namespace

ForcedCalls force_calls(const ToolFormat& format, const std::vector<ToolDefinition>& tools,
                        const ForcedOptions& options) {
  if (tools.empty()) throw_invalid("tools: a reply that must be a call needs a tool");
  ForcedCalls forced{format, {}, {}, {}};
  if (in_reasoning(format, options.prompt_tail)) forced.prefill = "\n" + format.reasoning_close + "\n\n";
  const bool one = tools.size() == 1;
  if (format.layout == ToolLayout::kNamed && one) {
    force_named(tools[0], options, forced);
  } else if (format.layout == ToolLayout::kChannel && one && !format.call_head.empty()) {
    force_recipient(tools[0], options, forced);
  } else if (format.layout == ToolLayout::kJson) {
    if (!format.bare && !format.call_opens.empty()) forced.prefill += format.call_opens[0] + "\n";
    forced.schema = calls_schema(format, tools, options, format.array);
    if (!format.bare && !format.call_close.empty()) forced.suffix = "\n" + format.call_close;
  } else {
    // A form whose marks the model would have to write: plain JSON instead.
    ToolFormat plain;
    plain.name = format.name;
    plain.layout = ToolLayout::kJson;
    plain.bare = true;
    plain.reasoning_open = format.reasoning_open;
    plain.reasoning_close = format.reasoning_close;
    forced.format = plain;
    forced.schema = calls_schema(plain, tools, options, false);
  }
  return forced;
}

}  // namespace llmhost::text
