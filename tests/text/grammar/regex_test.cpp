#include <doctest/doctest.h>

#include "text/grammar/grammar_texts.h"

using namespace llmhost;
using test::accepts;
using test::refusal;

namespace {

constexpr auto kRegex = text::GrammarKind::kRegex;

void check(std::string_view pattern, std::initializer_list<std::string_view> good,
           std::initializer_list<std::string_view> bad) {
  const auto grammar = text::compile_grammar({kRegex, std::string(pattern)});
  for (const std::string_view text : good) CHECK_MESSAGE(accepts(grammar, text), pattern, " ", text);
  for (const std::string_view text : bad) CHECK_MESSAGE(!accepts(grammar, text), pattern, " ", text);
}

}  // namespace

TEST_CASE("regex: each construct allows what it says") {
  check("abc", {"abc"}, {"", "ab", "abcd", "xabc"});
  check("a|bc|", {"a", "bc", ""}, {"b", "abc"});
  check("(ab)*c+d?", {"c", "ababccd", "abc"}, {"ab", "abd", "cdd"});
  check("a{2}b{1,3}c{2,}d{0}", {"aabcc", "aabbbcccc"}, {"abcc", "aabbbbcc", "aabc", "aabccd"});
  check("[a-c]x[^a-c\\n]", {"axd", "bx€", "cx\xF0\x9F\x98\x80"}, {"axa", "dxd", "ax\n", "ax\xFF"});
  check("\\d+\\w\\s\\.", {"12a .", "1_\t."}, {"a .", "1a.", "1a x"});
  check("[\\w.-]+", {"a-b.c"}, {"a b", ""});
  check("\\x41\\u00e9\\u{1F600}\\t", {"A\xC3\xA9\xF0\x9F\x98\x80\t"}, {"A"});
  check("^(?:a|b)$", {"a", "b"}, {"c", "ab"});
  check("(^a)|(b$)", {"a", "b"}, {"ab"});
  check("(?P<name>a)(?<other>b)", {"ab"}, {"a"});
  check("a.c",
        {"abc",
         "a\xE2\x82\xAC"
         "c"},
        {"a\nc", "ac",
         "a\xE2\x82"
         "c"});
  check("\\p{Lu}\\p{L}+", {"Ab", "\xC3\x89t\xC3\xA9"}, {"ab", "A1"});
  check("a*?b+?", {"aab"}, {"a"});
  check("(a{2,3}){2}", {"aaaa", "aaaaaa"}, {"aaa", "aaaaaaa"});
  check("(?:[a-z]{3,20}-){0,2000}z", {"z", "abc-defg-z"}, {"ab-z", "abc-"});
  check("(a+)+$", {"a", "aaaa"}, {"", "b"});
}

TEST_CASE("regex: a class is what ASCII and Unicode agree on") {
  check("\\d", {"1"}, {"\xD9\xA1"});  // Arabic-Indic digit one
  check("\\D", {"a", "\xC3\xA9"}, {"1", "\xD9\xA1"});
  check("[^\\d]", {"a"}, {"1", "\xD9\xA1"});
  check("\\W", {" ", "-"}, {"a", "\xC3\xA9"});
  check("[^\\W]", {"a"}, {"\xC3\xA9", "-"});
}

TEST_CASE("regex: what is not supported or no expression is refused with its place") {
  CHECK(refusal(kRegex, "a(b") == "regex: offset 1: a '(' has no closing ')'");
  CHECK(refusal(kRegex, "ab)") == "regex: offset 2: a ')' that closes nothing");
  CHECK(refusal(kRegex, "(?=a)b") == "regex: offset 0: lookahead and lookbehind are not supported");
  CHECK(refusal(kRegex, "(?<!a)b") == "regex: offset 0: lookahead and lookbehind are not supported");
  CHECK(refusal(kRegex, "(a)\\1") == "regex: offset 4: back references are not supported");
  CHECK(refusal(kRegex, "\\bword") == "regex: offset 1: word boundaries (\\b, \\B) are not supported");
  CHECK(refusal(kRegex, "(?i)a").find("flags") != std::string::npos);
  CHECK(refusal(kRegex, "*a").find("nothing to repeat") != std::string::npos);
  CHECK(refusal(kRegex, "a{3,2}").find("below its beginning") != std::string::npos);
  CHECK(refusal(kRegex, "[z-a]").find("before it begins") != std::string::npos);
  CHECK(refusal(kRegex, "[a").find("no closing ']'") != std::string::npos);
  CHECK(refusal(kRegex, "a^b").find("only supported at the beginning") != std::string::npos);
  CHECK(refusal(kRegex, "a\\").find("ends after a backslash") != std::string::npos);
  CHECK(refusal(kRegex, "\\p{Klingon}").find("not supported") != std::string::npos);
  CHECK(refusal(kRegex, "\xFF").find("UTF-8") != std::string::npos);
  CHECK(refusal(kRegex, "[]").find("no text") != std::string::npos);
  CHECK(refusal(kRegex, "").find("no text") != std::string::npos);
  CHECK(refusal(kRegex, std::string(1000, '(')).find("nested deeper") != std::string::npos);
}
