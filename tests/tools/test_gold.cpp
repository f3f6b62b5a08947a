// What models write gives the same content, reasoning and calls wherever the text is cut.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "text/tokenizer_utf8.h"
#include "tools/gold.h"

using namespace llmhost;
using namespace llmhost::text;

namespace {

ToolParserOptions options_of(const test::Gold& gold, const test::GoldReply& one) {
  ToolParserOptions options;
  options.tools = gold.tools;
  options.id_seed = "seed";
  options.prompt_tail = one.prompt;
  return options;
}

// Numbers may be written in more ways than one. Arguments that are no whole object stay as they are.
std::string sorted(const std::string& arguments) {
  return Json::accept(arguments) ? Json::parse(arguments).dump() : arguments;
}

}  // namespace

TEST_CASE("gold replies") {
  const test::Gold gold = test::read_gold();
  CHECK(gold.replies.size() > 80);
  for (const test::GoldReply& one : gold.replies) {
    CAPTURE(one.name);
    CAPTURE(one.text);
    const ToolFormat format = find_tool_format(one.chat_template);
    const ParsedReply reply = parse_reply(format, options_of(gold, one), one.text);
    CHECK(reply.content == one.reply.content);
    CHECK(reply.reasoning == one.reply.reasoning);
    REQUIRE(reply.calls.size() == one.reply.calls.size());
    for (size_t i = 0; i < reply.calls.size(); ++i) {
      CHECK(reply.calls[i].name == one.reply.calls[i].name);
      CHECK(sorted(reply.calls[i].arguments) == sorted(one.reply.calls[i].arguments));
      CHECK(reply.calls[i].id.starts_with("call_"));
    }
  }
}

TEST_CASE("one cut at every byte, and a cut behind every byte") {
  const test::Gold gold = test::read_gold();
  for (const test::GoldReply& one : gold.replies) {
    CAPTURE(one.name);
    const ToolFormat format = find_tool_format(one.chat_template);
    const ToolParserOptions options = options_of(gold, one);
    const ParsedReply whole = parse_reply(format, options, one.text);
    for (size_t cut = 0; cut <= one.text.size(); ++cut) {
      CAPTURE(cut);
      CHECK(test::parse_cut(format, options, one.text, {cut}) == whole);
    }
    std::vector<size_t> all(one.text.size());
    std::iota(all.begin(), all.end(), size_t{0});
    CHECK(test::parse_cut(format, options, one.text, all) == whole);
  }
}

TEST_CASE("two cuts at every pair of bytes of short replies, and random cuts of all") {
  const test::Gold gold = test::read_gold();
  std::mt19937 random(7);
  for (const test::GoldReply& one : gold.replies) {
    CAPTURE(one.name);
    const ToolFormat format = find_tool_format(one.chat_template);
    const ToolParserOptions options = options_of(gold, one);
    const ParsedReply whole = parse_reply(format, options, one.text);
    constexpr size_t kShort = 64;
    if (one.text.size() <= kShort)
      for (size_t a = 0; a <= one.text.size(); ++a)
        for (size_t b = a; b <= one.text.size(); ++b)
          REQUIRE(test::parse_cut(format, options, one.text, {a, b}) == whole);
    for (int round = 0; round < 50; ++round) {
      std::vector<size_t> cuts(1 + random() % 8);
      for (size_t& cut : cuts) cut = random() % (one.text.size() + 1);
      std::sort(cuts.begin(), cuts.end());
      REQUIRE(test::parse_cut(format, options, one.text, cuts) == whole);
    }
  }
}

TEST_CASE("replies cut off anywhere give whole characters, and arguments that go on in the whole reply") {
  const test::Gold gold = test::read_gold();
  for (const test::GoldReply& one : gold.replies) {
    CAPTURE(one.name);
    const ToolFormat format = find_tool_format(one.chat_template);
    const ToolParserOptions options = options_of(gold, one);
    const ParsedReply whole = parse_reply(format, options, one.text);
    for (size_t end = 0; end < one.text.size(); ++end) {
      CAPTURE(end);
      const std::string text = one.text.substr(0, end);
      const ParsedReply reply = parse_reply(format, options, text);
      CHECK(reply.calls.size() <= whole.calls.size());
      CHECK(is_valid_utf8(reply.content));
      for (size_t i = 0; i < reply.calls.size() && i < whole.calls.size(); ++i) {
        CHECK(reply.calls[i].name == whole.calls[i].name);
        if (is_valid_utf8(text)) CHECK(whole.calls[i].arguments.starts_with(reply.calls[i].arguments));
      }
      std::vector<size_t> all(text.size());
      std::iota(all.begin(), all.end(), size_t{0});
      REQUIRE(test::parse_cut(format, options, text, all) == reply);
    }
  }
}

// What each layout writes for run(code=…), with text that needs escapes, and what stands behind it.
struct Written {
  const char* family;
  std::string before, behind;
};

TEST_CASE("arguments come as they are written, in every layout") {
  const std::string code = "for i in range(10): print(i) and so on, with tabs, for more than a line of text";
  const std::vector<Written> all = {
      {"tool-call-tag", R"(<tool_call>{"name": "run", "arguments": {"code": ")", "\"}}</tool_call>"},
      {"bare-object", R"({"name": "run", "parameters": {"code": ")", "\"}}"},
      {"bare-array", R"([{"name": "run", "arguments": {"code": ")", "\"}}]"},
      {"bracket-array", R"([TOOL_CALLS] [{"name": "run", "arguments": {"code": ")", "\"}}]"},
      {"bracket-named", R"([TOOL_CALLS]run[ARGS]{"code": ")", "\"}"},
      {"call-braces", R"(<|tool_call>call:run{code:<|"|>)", R"(<|"|>}<tool_call|>)"},
      {"begin-sep-fence",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>run\n```json\n{\"code\": \"",
       "\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {"parameter-tags", "<tool_call>\n<function=run>\n<parameter=code>\n",
       "\n</parameter>\n</function>\n</tool_call>"},
      {"key-value-tags", "<tool_call>run\n<arg_key>code</arg_key>\n<arg_value>",
       "</arg_value>\n</tool_call>"},
      {"markup-tool-calls",
       "<｜DSML｜tool_calls><｜DSML｜invoke name=\"run\"><｜DSML｜parameter name=\"code\" string=\"true\">",
       "</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜tool_calls>"},
      {"marked-tree", "]<]minimax[>[<tool_call>]<]minimax[>[<invoke name=\"run\">]<]minimax[>[<code>",
       "]<]minimax[>[</code>]<]minimax[>[</invoke>]<]minimax[>[</tool_call>"},
      {"start-end-python", "<|tool_call_start|>[run(code=\"", "\")]<|tool_call_end|>"},
      {"harmony", "<|channel|>commentary to=functions.run<|message|>{\"code\": \"", "\"}<|call|>"},
  };
  ToolParserOptions options;
  options.tools = {{"run", R"({"properties": {"code": {"type": "string"}}})"}};
  for (const Written& one : all) {
    CAPTURE(one.family);
    ToolParser parser(named_tool_format(one.family), options);
    ParsedReply reply;
    for (const char c : one.before)
      for (const ToolDelta& delta : parser.push({&c, 1})) reply.add(delta);
    constexpr size_t kToken = 4;
    constexpr size_t kHeldBack = 16;  // what may be the beginning of a closing mark, or of character data
    for (size_t at = 0; at < code.size(); at += kToken) {
      for (const ToolDelta& delta : parser.push(code.substr(at, kToken))) reply.add(delta);
      const size_t come = std::min(at + kToken, code.size());
      if (come <= kHeldBack) continue;
      REQUIRE(reply.calls.size() == 1);
      CHECK(reply.calls[0].arguments.size() + kHeldBack > come);
      CHECK(("{\"code\":\"" + code).starts_with(reply.calls[0].arguments));
    }
    for (const char c : one.behind)
      for (const ToolDelta& delta : parser.push({&c, 1})) reply.add(delta);
    for (const ToolDelta& delta : parser.finish()) reply.add(delta);
    REQUIRE(reply.calls.size() == 1);
    CHECK(reply.calls[0].arguments == "{\"code\":\"" + code + "\"}");
    CHECK(reply.content.empty());
  }
}

TEST_CASE("a call that was cut off gets no closing marks of a forced reply") {
  ToolParserOptions options;
  options.tools = {{"f", ""}};
  options.prefill = "<tool_call>\n";
  options.suffix = "\n</tool_call>";
  const ToolFormat format = named_tool_format("tool-call-tag");
  const std::string text = R"({"name": "f", "arguments": {"path": "/tmp)";
  const ParsedReply reply = parse_reply(format, options, text, ReplyEnd::kCut);
  REQUIRE(reply.calls.size() == 1);
  CHECK(reply.calls[0].arguments == R"({"path":"/tmp)");
  CHECK(reply.content.empty());
}

TEST_CASE("a long argument is read in little more than the time of its length") {
  ToolParserOptions options;
  ToolParser parser(named_tool_format("tool-call-tag"), options);
  ParsedReply reply;
  const std::string begin = R"(<tool_call>{"name": "f", "arguments": {"a": ")";
  const std::string piece = "}])> \\n";
  constexpr size_t kPieces = 20000;
  for (const ToolDelta& delta : parser.push(begin)) reply.add(delta);
  for (size_t i = 0; i < kPieces; ++i)
    for (const ToolDelta& delta : parser.push(piece)) reply.add(delta);
  for (const ToolDelta& delta : parser.push("\"}}</tool_call>")) reply.add(delta);
  for (const ToolDelta& delta : parser.finish()) reply.add(delta);
  REQUIRE(reply.calls.size() == 1);
  CHECK(reply.calls[0].arguments.size() == kPieces * piece.size() + std::string(R"({"a":""})").size());
}

TEST_CASE("damaged replies give the same in pieces as whole, and no call without a name and a beginning") {
  const test::Gold gold = test::read_gold();
  std::mt19937 random(11);
  for (const test::GoldReply& one : gold.replies) {
    CAPTURE(one.name);
    const ToolFormat format = find_tool_format(one.chat_template);
    const ToolParserOptions options = options_of(gold, one);
    for (int round = 0; round < 60 && !one.text.empty(); ++round) {
      std::string text = one.text;
      for (size_t change = 0; change <= random() % 2; ++change) {
        const size_t at = random() % text.size();
        const size_t size = 1 + random() % 8;
        const std::string part = text.substr(random() % text.size(), size);
        text.replace(at, random() % 2 == 0 ? 0 : size, random() % 3 == 0 ? std::string() : part);
        if (text.empty()) text = "<";
      }
      CAPTURE(text);
      const ParsedReply whole = parse_reply(format, options, text);
      std::vector<size_t> all(text.size());
      std::iota(all.begin(), all.end(), size_t{0});
      REQUIRE(test::parse_cut(format, options, text, all) == whole);
      REQUIRE(test::parse_cut(format, options, text, {random() % (text.size() + 1)}) == whole);
      for (const ParsedCall& call : whole.calls) {
        CHECK(!call.name.empty());
        CHECK(call.arguments.size() > 1);
        CHECK(call.arguments.front() == '{');
      }
    }
  }
}
