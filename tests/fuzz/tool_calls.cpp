// Any bytes as what a model writes: in one piece and cut into many they give the same, and arguments are the
// beginning of an object.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "text/tools/tool_parser.h"

namespace {

using namespace llmhost::text;

const std::vector<ToolFormat>& formats() {
  static const std::vector<ToolFormat> all = [] {
    std::vector<ToolFormat> found;
    for (const std::string& name : tool_format_names()) found.push_back(named_tool_format(name));
    for (ToolFormat& format : found) {
      if (!format.channels.starts.empty()) continue;
      format.reasoning_open = "<think>";
      format.reasoning_close = "</think>";
    }
    return found;
  }();
  return all;
}

ParsedReply in_pieces(const ToolFormat& format, const ToolParserOptions& options, std::string_view text,
                      size_t size) {
  ParsedReply reply;
  ToolParser parser(format, options);
  for (size_t from = 0; from < text.size(); from += size)
    for (const ToolDelta& delta : parser.push(text.substr(from, size))) reply.add(delta);
  for (const ToolDelta& delta : parser.finish()) reply.add(delta);
  return reply;
}

}  // namespace

// Byte 0: the family; byte 1: the size of pieces, and (bit 7) reasoning begun by the prompt.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const ToolFormat& format = formats()[data[0] % formats().size()];
  ToolParserOptions options;
  options.tools = {{"f", R"({"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}})"}};
  if ((data[1] & 0x80) != 0) options.prompt_tail = "<think>\n";
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const ParsedReply whole = parse_reply(format, options, text);
  if (in_pieces(format, options, text, 1 + (data[1] & 0x7F) % 16) != whole) std::abort();
  for (const ParsedCall& call : whole.calls)
    if (!call.arguments.starts_with('{') || call.arguments.size() < 2 || call.name.empty()) std::abort();
  return 0;
}
