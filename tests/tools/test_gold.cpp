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

// Numbers may be written in more ways than one.
std::string sorted(const std::string& arguments) {
  return Json::parse(arguments).dump();
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

TEST_CASE("replies cut off anywhere lose no text, give whole characters and sound arguments") {
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
      for (const ParsedCall& call : reply.calls) CHECK(Json::parse(call.arguments).is_object());
      std::vector<size_t> all(text.size());
      std::iota(all.begin(), all.end(), size_t{0});
      REQUIRE(test::parse_cut(format, options, text, all) == reply);
    }
  }
}
