// Replies that must be calls: what the schema allows, between prefill and suffix, is read as the call it is.
#include <doctest/doctest.h>

#include <algorithm>

#include "core/error.h"
#include "core/json.h"
#include "text/grammar/grammar.h"
#include "text/tools/tool_forcing.h"
#include "text/tools/tool_messages.h"
#include "text/tools/tool_parser.h"

using namespace llmhost;
using namespace llmhost::text;

namespace {

const std::vector<ToolDefinition> kTwo = {
    {"f", R"({"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}, "tree": {"$ref": "#"}},
             "$defs": {"N": {"type": "integer"}}})"},
    {"g", ""}};

ParsedReply read(const ForcedCalls& forced, const std::vector<ToolDefinition>& tools,
                 const std::string& prompt, const std::string& text) {
  ToolParserOptions options;
  options.tools = tools;
  options.prompt_tail = prompt;
  options.prefill = forced.prefill;
  options.suffix = forced.suffix;
  return parse_reply(forced.format, options, text);
}

// A text that the schema allows: these schemas are objects, or arrays of one, with "const" and "$ref" alone.
OrderedJson sample(const OrderedJson& schema, const std::string& name) {
  if (schema.contains("items")) return OrderedJson::array({sample(schema["items"], name)});
  if (schema.contains("anyOf")) {
    for (const OrderedJson& choice : schema["anyOf"])
      if (sample(choice, name).dump().find('"' + name + '"') != std::string::npos)
        return sample(choice, name);
    return sample(schema["anyOf"][0], name);
  }
  if (!schema.contains("required") || schema.value("additionalProperties", true)) return {{"n", 1}};
  OrderedJson object = OrderedJson::object();
  for (const auto& [key, value] : schema["properties"].items())
    object[key] = value.contains("const") ? value["const"] : OrderedJson{{"n", 1}};
  return object;
}

}  // namespace

TEST_CASE("every family can be made to call one tool, and one of two") {
  for (const std::string& name : tool_format_names()) {
    CAPTURE(name);
    for (const bool one : {true, false}) {
      const std::vector<ToolDefinition> tools(kTwo.begin(), kTwo.begin() + (one ? 1 : 2));
      const std::string called = one ? "f" : "g";
      const ForcedCalls forced = force_calls(named_tool_format(name), tools, {});
      const OrderedJson schema = OrderedJson::parse(forced.schema);
      const ParsedReply reply = read(forced, tools, "", sample(schema, called).dump());
      CAPTURE(forced.prefill);
      CAPTURE(reply.content);
      REQUIRE(reply.calls.size() == 1);
      CHECK(reply.content == "");
      CHECK(reply.calls[0].name == called);
      CHECK(reply.calls[0].arguments == R"({"n":1})");
    }
  }
}

TEST_CASE("references inside a tool's schema follow it") {
  const OrderedJson both =
      OrderedJson::parse(force_calls(named_tool_format("tool-call-tag"), kTwo, {}).schema);
  const OrderedJson& f = both["$defs"]["tool0"];
  CHECK(f["properties"]["n"]["$ref"] == "#/$defs/tool0/$defs/N");
  CHECK(f["properties"]["tree"]["$ref"] == "#/$defs/tool0");
  CHECK(both["$defs"]["tool1"] == OrderedJson::parse(R"({"type": "object"})"));
  CHECK(both["anyOf"].size() == 2);
}

TEST_CASE("reasoning that the prompt begins is ended") {
  ToolFormat format = named_tool_format("tool-call-tag");
  format.reasoning_open = "<think>";
  format.reasoning_close = "</think>";
  ForcedOptions options;
  options.prompt_tail = "assistant\n<think>\n";
  const ForcedCalls forced = force_calls(format, {kTwo[1]}, options);
  CHECK(forced.prefill == "\n</think>\n\n<tool_call>\n");
  const ParsedReply reply = read(forced, {kTwo[1]}, options.prompt_tail, R"({"name":"g","arguments":{}})");
  CHECK(reply.calls.size() == 1);
  CHECK(reply.reasoning == "");
}

TEST_CASE("the schemas are grammars that can be compiled, whatever a tool refers to") {
  for (const std::string& name : tool_format_names()) {
    CAPTURE(name);
    for (const size_t count : {size_t{1}, size_t{2}}) {
      const std::vector<ToolDefinition> tools(kTwo.begin(),
                                              kTwo.begin() + static_cast<std::ptrdiff_t>(count));
      const ForcedCalls forced = force_calls(named_tool_format(name), tools, {});
      CAPTURE(forced.schema);
      CHECK_NOTHROW(compile_grammar({GrammarKind::kJsonSchema, forced.schema}));
    }
  }
}

TEST_CASE("the tokens that marks are made of are named") {
  const std::vector<std::pair<std::string, std::string>> tokens = {
      {"function-call-role", "<|role_sep|>"}, {"markup-tool-calls", "｜DSML｜"},
      {"open-close-tokens", "<|open|>"},      {"recipient-tokens", "<|from|>"},
      {"call-braces", "<|tool_call>"},        {"bracket-named", "[ARGS]"},
      {"marked-tree", "]<]minimax[>["},       {"harmony", "<|start|>"},
      {"begin-sep", "<｜tool▁sep｜>"}};
  for (const auto& [family, token] : tokens) {
    CAPTURE(family);
    const std::vector<std::string> marks = named_tool_format(family).marks();
    CHECK(std::count(marks.begin(), marks.end(), token) == 1);
  }
}

TEST_CASE("damaged schemas are refused") {
  CHECK_THROWS_AS(force_calls(named_tool_format("tool-call-tag"), {{"f", "[]"}}, {}), Error);
  CHECK_THROWS_AS(force_calls(named_tool_format("tool-call-tag"), {{"f", "{"}}, {}), Error);
  CHECK_THROWS_AS(force_calls(named_tool_format("tool-call-tag"), {}, {}), Error);
  CHECK_THROWS_AS(named_tool_format("none such"), Error);
}

TEST_CASE("a conversation with tools in the form that a template wants") {
  const auto messages = OrderedJson::parse(R"([{"role": "user", "content": "a"},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
      "function": {"name": "f", "arguments": "{\"n\": 1}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "b"}])");
  const auto tools = OrderedJson::parse(R"([{"type": "function", "function": {"name": "f"}}])");
  ToolFormat format = named_tool_format("bracket-array");
  OrderedJson made = tool_variables(format, messages, tools);
  CHECK(made["tools"] == tools);
  CHECK(made["messages"][1]["tool_calls"][0]["function"]["arguments"]["n"] == 1);
  CHECK(made["messages"][1]["content"] == "");
  CHECK(made["messages"][1]["tool_calls"][0]["id"].get<std::string>().size() == 9);
  CHECK(made["messages"][1]["tool_calls"][0]["id"] == made["messages"][2]["tool_call_id"]);
  CHECK_FALSE(tool_variables(format, messages, nullptr).contains("tools"));

  made = tool_variables(named_tool_format("section-calls"), messages, tools);
  CHECK(made["messages"][1]["tool_calls"][0]["id"] == "functions.f:0");
  CHECK(made["messages"][2]["tool_call_id"] == "functions.f:0");

  made = tool_variables(named_tool_format("list-between-tokens"), messages, tools);
  CHECK(made["messages"][0]["role"] == "system");
  CHECK(made["messages"][0]["tools"] == tools.dump());
  made = tool_variables(named_tool_format("functioncall-tag"), messages, tools);
  CHECK(made["messages"][0]["role"] == "functions");
  CHECK(made["messages"][2]["tool_calls"][0]["function"]["arguments"] == "{\"n\": 1}");

  OrderedJson damaged = messages;
  damaged[1]["tool_calls"][0]["function"]["arguments"] = "[1]";
  CHECK_THROWS_WITH(tool_variables(format, damaged, tools),
                    "messages[1].tool_calls[0].function.arguments: it must be the JSON text of an object");
}
