#include "text/grammar/automaton.h"

#include <doctest/doctest.h>

#include <ctime>
#include <random>
#include <string>

#include "text/grammar/code_points.h"
#include "text/grammar/grammar_texts.h"
#include "text/grammar/sources.h"
#include "text/tokenizer_utf8.h"

using namespace llmhost;
using namespace llmhost::text::grammar;

namespace {

Automaton of(std::string_view pattern, Budget& budget) {
  return to_automaton(read_regex(pattern, RegexMatch::kWhole, "test"), budget);
}

// All texts of up to n letters.
std::vector<std::string> all_texts(std::string_view letters, size_t n) {
  std::vector<std::string> out{""};
  for (size_t begin = 0, length = 0; length < n; ++length) {
    const size_t end = out.size();
    for (size_t i = begin; i < end; ++i)
      for (const char c : letters) out.push_back(out[i] + c);
    begin = end;
  }
  return out;
}

}  // namespace

TEST_CASE("products of automata are what they are of their languages") {
  Budget budget{text::GrammarLimits{}};
  const char* const patterns[] = {"a*b", "(ab|c)*", "[ab]{1,3}c?", "a+", "", "(a|b)*abb", "c{2,}", "[abc]*"};
  for (const char* a : patterns)
    for (const char* b : patterns) {
      const Automaton first = of(a, budget);
      const Automaton second = of(b, budget);
      const Automaton both = intersection(first, second, budget);
      const Automaton only = difference(first, second, budget);
      for (const std::string& text : all_texts("abc", 5)) {
        REQUIRE(both.matches(text) == (first.matches(text) && second.matches(text)));
        REQUIRE(only.matches(text) == (first.matches(text) && !second.matches(text)));
        REQUIRE(without_empty(first).matches(text) == (first.matches(text) && !text.empty()));
      }
    }
}

TEST_CASE("a set of characters is exactly their UTF-8") {
  Budget budget{text::GrammarLimits{.max_states = 10'000'000, .max_milliseconds = 60'000}};
  std::mt19937 random(1);
  constexpr char32_t kEdges[] = {0,      0x7F,   0x80,   0x7FF,   0x800,   0xFFF,   0x1000,
                                 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF};
  for (int round = 0; round < 60; ++round) {
    CodeSet set;
    for (int i = 0; i < 3; ++i) {
      char32_t first = round % 2 == 0 ? kEdges[random() % 14] : static_cast<char32_t>(random() % 0x110000);
      char32_t last = round % 3 == 0 ? kEdges[random() % 14] : static_cast<char32_t>(random() % 0x110000);
      if (first > last) std::swap(first, last);
      set.add(first, last);
    }
    const Automaton automaton = to_automaton(character_of(set), budget);
    const Automaton others = to_automaton(character_of(set.complement()), budget);
    for (int i = 0; i < 2000; ++i) {
      char32_t code = static_cast<char32_t>(random() % 0x110000);
      if (i < 14) code = kEdges[i];
      if (code >= 0xD800 && code <= 0xDFFF) continue;
      bool is_in = false;
      for (const CodeRange& range : set.ranges())
        is_in = is_in || (range.first <= code && code <= range.last);
      std::string bytes;
      text::append_utf8(bytes, code);
      REQUIRE(automaton.matches(bytes) == is_in);
      REQUIRE(others.matches(bytes) == !is_in);
    }
    CHECK(!automaton.matches("\xED\xA0\x80"));
    CHECK(!automaton.matches("\xC0\x80"));
  }
}

TEST_CASE("a grammar that is too large ends with an error, soon") {
  const auto is_refused_soon = [](text::GrammarKind kind, const std::string& source) {
    const std::clock_t begin = std::clock();
    const std::string error = test::refusal(kind, source);
    const double took = 1000.0 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    CHECK(error != "compiled");
    CHECK_MESSAGE(took < 250, error, " after ", took, " ms");
  };
  using text::GrammarKind;
  is_refused_soon(GrammarKind::kRegex, "(a|b)*a(a|b){30}");
  is_refused_soon(GrammarKind::kRegex, "((a{1000}){1000}){1000}b{1000000000}");
  is_refused_soon(GrammarKind::kRegex, "((((a?){999}){999}){999}){999}[xyz]{900000}");
  is_refused_soon(GrammarKind::kEbnf, "root ::= \"a\"{1000000000}");
  is_refused_soon(GrammarKind::kJsonSchema, R"({"type":"array","maxItems":1000000000})");
  is_refused_soon(GrammarKind::kJsonSchema, R"({"type":"string","minLength":1000000000})");
  is_refused_soon(GrammarKind::kJsonSchema, R"({"$ref":"#"})");
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += R"({"properties":{"a":)";
  is_refused_soon(GrammarKind::kJsonSchema, deep);
  std::string values = R"({"enum":["")";
  for (int i = 0; i < 100'000; ++i) values += ",\"" + std::to_string(i * 7919) + "\"";
  is_refused_soon(GrammarKind::kJsonSchema, values + "]}");
  std::string all = R"({"allOf":[)";
  for (int i = 0; i < 40; ++i)
    all += std::string(i > 0 ? "," : "") + R"({"anyOf":[{"minimum":)" + std::to_string(i) +
           R"(},{"maxLength":)" + std::to_string(i) + "}]}";
  is_refused_soon(GrammarKind::kJsonSchema, all + "]}");
  is_refused_soon(GrammarKind::kRegex, std::string(2 << 20, 'a'));
}
