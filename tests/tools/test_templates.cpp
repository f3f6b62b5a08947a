// Real chat templates: which form of calls each asks for, and that calls as a template itself writes them
// into a conversation are read back from that text.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "core/json.h"
#include "support/paths.h"
#include "text/template/chat_prompt.h"
#include "text/tools/tool_messages.h"
#include "text/tools/tool_parser.h"

using namespace llmhost;
using namespace llmhost::text;

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file, path.string());
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

std::map<std::string, std::string> real_templates() {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(test::data("template/templates")))
    if (entry.path().extension() == ".jinja") all[entry.path().stem().string()] = read(entry.path());
  return all;
}

const char* const kTools = R"([{"type": "function", "function": {"name": "get_weather", "description": "W.",
  "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "C"},
  "days": {"type": "integer", "description": "D"}}, "required": ["city"]}}}])";
const char* const kUser = R"({"role": "user", "content": "How is the weather?"})";
const char* const kCall = R"({"role": "assistant", "content": null, "tool_calls": [{"id": "call_0123456789",
  "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Rome, 东\", \"days\": 3}"}}]})";

std::string render(const std::string& source, const ToolFormat& format, const OrderedJson& messages,
                   bool prompt) {
  OrderedJson variables = tool_variables(format, messages, OrderedJson::parse(kTools));
  variables["bos_token"] = "<s>";
  variables["eos_token"] = "</s>";
  variables["add_generation_prompt"] = prompt;
  return render_chat(jinja::Template::parse(source, "t"), variables);
}

// What the template writes for the assistant's turn behind a prompt that asks for a reply. Where an earlier
// turn is written in another way than a reply goes on (without the reasoning that the prompt opens), behind
// one that does not.
ParsedReply read_turn(const std::string& source, const ToolFormat& format, bool prompts) {
  const auto user = OrderedJson::parse(kUser), call = OrderedJson::parse(kCall);
  const std::string whole = render(source, format, OrderedJson::array({user, call}), false);
  const std::string prompt = render(source, format, OrderedJson::array({user}), prompts);
  const auto parted = std::mismatch(whole.begin(), whole.end(), prompt.begin(), prompt.end());
  ToolParserOptions options;
  options.tools = {{"get_weather", OrderedJson::parse(kTools)[0]["function"]["parameters"].dump()}};
  if (prompts) options.prompt_tail = prompt;
  return parse_reply(format, options, std::string(parted.first, whole.end()));
}

}  // namespace

TEST_CASE("the form of calls of real templates") {
  const Json families = read_json_file(test::data("tools/families.json"));
  size_t with_tools = 0;
  for (const auto& [name, source] : real_templates()) {
    CAPTURE(name);
    const ToolFormat format = find_tool_format(source);
    const Json expected = families.value(name, Json{{"family", "-"}, {"tools", false}});
    CHECK((format.has_calls() ? format.name : "-") == expected["family"]);
    CHECK(format.takes_tools == expected["tools"].get<bool>());
    if (format.takes_tools) ++with_tools;
  }
  CHECK(with_tools >= 60);
}

TEST_CASE("calls as templates write them are read back") {
  const std::set<std::string> silent = {
      // write nothing of earlier calls
      "LFM2.5-Instruct", "hfjs-MadeAgents_Hammer2.1", "phi-4-mini", "phi-4-mini-reasoning", "smollm3-ort",
      "ibm-granite-granite-3.3-2B-Instruct",
      // cannot render this conversation: use list.append, want tools or calls in other forms than OpenAI's,
      // take
      // content[0] of an empty text, or give a generator to tojson
      "Kimi-K2-Instruct", "gpt-oss-ort", "hfjs-CohereForAI_c4ai-command-r-v01",
      "hfjs-CohereLabs_command-a-reasoning-08-2025", "llama-cpp-deepseek-r1"};
  for (const auto& [name, source] : real_templates()) {
    CAPTURE(name);
    const ToolFormat format = find_tool_format(source);
    if (!format.takes_tools || silent.contains(name)) continue;
    ParsedReply parsed;
    try {
      parsed = read_turn(source, format, true);
      if (parsed.calls.empty()) parsed = read_turn(source, format, false);
    } catch (const std::exception& error) {
      FAIL_CHECK(std::string(error.what()));
      continue;
    }
    CAPTURE(parsed.content);
    CHECK(parsed.calls.size() == 1);
    if (parsed.calls.size() != 1) continue;
    CHECK(parsed.calls[0].name == "get_weather");
    CHECK(Json::parse(parsed.calls[0].arguments) == Json::parse(R"({"city": "Rome, 东", "days": 3})"));
  }
}
