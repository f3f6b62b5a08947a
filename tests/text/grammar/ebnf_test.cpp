#include <doctest/doctest.h>

#include "text/grammar/grammar_texts.h"

using namespace llmhost;
using test::accepts;
using test::refusal;

namespace {

constexpr auto kEbnf = text::GrammarKind::kEbnf;

void check(std::string_view source, std::initializer_list<std::string_view> good,
           std::initializer_list<std::string_view> bad) {
  const auto grammar = text::compile_grammar({kEbnf, std::string(source)});
  for (const std::string_view text : good) CHECK_MESSAGE(accepts(grammar, text), source, " ", text);
  for (const std::string_view text : bad) CHECK_MESSAGE(!accepts(grammar, text), source, " ", text);
}

}  // namespace

TEST_CASE("ebnf: literals, classes, repetitions, groups, comments") {
  check("root ::= \"a\\n\\\"\\x41\" [b-d]* # comment\n", {"a\n\"A", "a\n\"Abcd"}, {"a", "a\n\"Ae"});
  check("root ::= (\"a\" | \"b\"\n  \"c\")+\n\n# end\n", {"a", "bc", "abca"}, {"", "b"});
  check("root ::= x{2} y{1,} z{0,2}\nx ::= \"x\"\ny ::= \"y\"\nz ::= \"z\"", {"xxy", "xxyyyzz"},
        {"xy", "xxyzzz"});
  check("root ::=\n  \"a\" |\n  \"b\"\n", {"a", "b"}, {"ab"});
  check("root ::= \"a\"\n  | \"b\"\nother ::= \"c\"\n", {"a", "b"}, {"c"});
  check("root ::= [^\"\\\\\\n] .", {"ab", "\xC3\xA9\n"}, {"\"b", "\\b"});
  check("root ::= \"\" \"x\"?", {"", "x"}, {"xx"});
}

TEST_CASE("ebnf: recursion") {
  check("root ::= \"(\" root* \")\"", {"()", "(()(()))"}, {"(", "())"});
  check("root ::= \"a\" root \"b\" | \"ab\"", {"ab", "aabb"}, {"aab", ""});
  check("root ::= \"a\" root | \"b\"", {"b", "aab"}, {"a"});
  check(R"x(root ::= expr
expr ::= term (("+" | "-") term)*
term ::= factor ("*" factor)*
factor ::= [0-9]+ | "(" expr ")")x",
        {"1", "1+2*(3-4)", "((7))"}, {"1+", "(1", "()"});
  // Nothing may stand anywhere.
  check("root ::= ws \"a\" ws ws \"b\" ws\nws ::= [ \\n]*", {"ab", " a \n b "}, {"a", "a-b"});
  // Many ways to read the same text.
  check("root ::= s\ns ::= \"a\" s \"b\"? | \"a\"", {"a", "aab", "aaabb"}, {"b", "abb"});
  // A chain of rules deeper than any stack of calls should be.
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 10'000; ++i)
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " | \"x\"\n";
  check(chain + "r10000 ::= \"y\"\n", {"x", "y"}, {"z"});
}

TEST_CASE("ebnf: nested calls come back however deep, with a bounded memory of positions") {
  const auto grammar = text::compile_grammar({kEbnf, "root ::= \"(\" root* \")\""});
  const auto matcher = text::make_matcher(grammar, test::byte_vocabulary(), {});
  constexpr int kDepth = 100'000;
  for (int i = 0; i < kDepth; ++i) REQUIRE(matcher->try_accept_text("("));
  for (int i = 0; i < kDepth; ++i) {
    REQUIRE(!matcher->may_end());
    REQUIRE(matcher->try_accept_text(")"));
  }
  CHECK(matcher->is_complete());
  CHECK(!matcher->try_accept_text(")"));
}

TEST_CASE("ebnf: mistakes are refused with their place") {
  CHECK(refusal(kEbnf, "a ::= \"x\"") == "ebnf: there is no rule named 'root'");
  CHECK(refusal(kEbnf, "root ::= a") == "ebnf: offset 9: rule 'a' is used but not defined");
  CHECK(refusal(kEbnf, "root ::= \"a\"\nroot ::= \"b\"") == "ebnf: offset 13: rule 'root' is defined twice");
  CHECK(refusal(kEbnf, "root = \"a\"").find("'::=' was expected") != std::string::npos);
  CHECK(refusal(kEbnf, "root ::= \"a").find("no closing") != std::string::npos);
  CHECK(refusal(kEbnf, "root ::= (\"a\"").find("no closing ')'") != std::string::npos);
  CHECK(refusal(kEbnf, "root ::= \"a\" )").find("ends with its line") != std::string::npos);
  CHECK(refusal(kEbnf, "root ::= root \"a\" | \"a\"").find("begins with itself") != std::string::npos);
  CHECK(refusal(kEbnf, "root ::= a\na ::= b* c\nb ::= \"b\"\nc ::= a \"x\" | \"y\"")
            .find("begins with itself") != std::string::npos);
  CHECK(refusal(kEbnf, "root ::= \"a\" root").find("no text") != std::string::npos);
  CHECK(refusal(kEbnf, "root ::= \"a\"{3,1}").find("below its beginning") != std::string::npos);
  CHECK(refusal(kEbnf, "").find("no rule named 'root'") != std::string::npos);
}
