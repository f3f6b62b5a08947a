// The gold replies of tests/data/tools/gold.json. A call that was damaged or cut off has "begins", the text
// that its arguments begin with, instead of "arguments".
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/json.h"
#include "support/paths.h"
#include "text/tools/tool_parser.h"

namespace llmhost::test {

struct GoldReply {
  std::string name, chat_template, prompt, text;
  text::ParsedReply reply;  // ids are empty
};

struct Gold {
  std::vector<text::ToolDefinition> tools;
  std::vector<GoldReply> replies;
};

inline Gold read_gold() {
  std::ifstream file(data("tools/gold.json"), std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const OrderedJson root = parse_ordered_json(text, "gold.json");
  Gold gold;
  for (const OrderedJson& tool : root["tools"])
    gold.tools.push_back({tool["name"], tool["parameters"].dump()});
  for (const OrderedJson& one : root["cases"]) {
    GoldReply reply{one["name"], one["template"], one.value("prompt", ""), one["text"], {}};
    reply.reply.content = one["content"];
    reply.reply.reasoning = one["reasoning"];
    for (const OrderedJson& call : one["calls"])
      reply.reply.calls.push_back(
          {"", call["name"],
           call.contains("begins") ? call["begins"].get<std::string>() : call["arguments"].dump()});
    gold.replies.push_back(std::move(reply));
  }
  return gold;
}

// The reply in pieces that end at the cuts.
inline text::ParsedReply parse_cut(const text::ToolFormat& format, const text::ToolParserOptions& options,
                                   std::string_view text, const std::vector<size_t>& cuts) {
  text::ParsedReply reply;
  text::ToolParser parser(format, options);
  size_t from = 0;
  for (const size_t cut : cuts) {
    for (const text::ToolDelta& delta : parser.push(text.substr(from, cut - from))) reply.add(delta);
    from = cut;
  }
  for (const text::ToolDelta& delta : parser.push(text.substr(from))) reply.add(delta);
  for (const text::ToolDelta& delta : parser.finish()) reply.add(delta);
  return reply;
}

}  // namespace llmhost::test
