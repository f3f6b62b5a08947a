#include <doctest/doctest.h>

#include "text/grammar/grammar_texts.h"

using namespace llmhost;
using test::accepts;
using test::refusal;

namespace {

constexpr auto kSchema = text::GrammarKind::kJsonSchema;
using Texts = std::initializer_list<std::string_view>;

void check(std::string_view source, Texts good, Texts bad) {
  const auto grammar = text::compile_grammar({kSchema, std::string(source)});
  for (const std::string_view text : good) CHECK_MESSAGE(accepts(grammar, text), source, " ", text);
  for (const std::string_view text : bad) CHECK_MESSAGE(!accepts(grammar, text), source, " ", text);
}

}  // namespace

TEST_CASE("json schema: types and any value") {
  check("{}", {"1", "\"a\"", "[]", "{}", "null", "{\"a\": [1, {\"b\": \"c\"}]}", "-0.5e-3"},
        {"", "nul", "01", "[1,]", "{a:1}"});
  check("true", {"[[[]]]"}, {"[[[]]"});
  check(R"({"type":"boolean"})", {"true", "false"}, {"null", "1"});
  check(R"({"type":["integer","null"]})", {"1", "-20", "null", "0"}, {"1.5", "-0", "01", "\"1\""});
  check(R"({"type":"number"})", {"1", "-2.50", "1e5", "0.1E-7"}, {"1.", ".5", "1e", "+1"});
  check(R"({"type":"string"})", {"\"\"", "\"a\\n\\u00e9\\\"\"", "\"\\ud83d\\ude00\"", "\"\xC3\xA9\""},
        {"\"", "\"\n\"", "\"\\x\"", "\"\\ud83d\"", "\"\\ude00\"", "\"\xC3\""});
}

TEST_CASE("json schema: spacing is short or that of indented texts") {
  check(R"({"type":"array","items":{"type":"integer"}})",
        {"[]", "[1,2]", "[1, 2]", "[ 1 ]", "[\n  1,\n  2\n]"}, {" []", "[1 ,2]", "[1,  2]", "[] "});
  check(R"({"type":"object"})", {"{\"a\":1}", "{\"a\": 1}", "{\n\t\"a\": 1\n}"},
        {"{\"a\" : 1}", "{\"a\":  1}"});
}

TEST_CASE("json schema: numbers between bounds") {
  check(R"({"type":"integer","minimum":-5,"maximum":120})", {"-5", "-1", "0", "9", "10", "99", "100", "120"},
        {"-6", "-10", "121", "200", "1000", "-0"});
  check(R"({"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":10})", {"1", "9"}, {"0", "10"});
  check(R"({"type":"integer","minimum":0.5})", {"1", "100000"}, {"0", "-1"});
  check(R"({"type":"integer","multipleOf":7,"minimum":-30})", {"-28", "0", "7", "700"}, {"-35", "8", "71"});
  check(R"({"type":"number","minimum":0,"maximum":1})", {"0", "0.5", "1", "1.000", "0.999999"},
        {"-0.1", "1.1", "1.0001", "2", "10"});
  check(R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":2.5})",
        {"0.1", "2.49", "1", "2", "0.000001"}, {"0", "0.0", "2.5", "2.50", "3", "-1"});
  check(R"({"type":"number","minimum":-1.25,"maximum":-0.5})", {"-1.25", "-1", "-0.5", "-0.75"},
        {"-1.26", "-0.49", "0", "1"});
  check(R"({"type":"number","multipleOf":2})", {"0", "4", "-22"}, {"3", "1.0"});
}

TEST_CASE("json schema: strings by length, pattern and format") {
  check(R"({"type":"string","minLength":2,"maxLength":3})",
        {"\"ab\"", "\"\xC3\xA9\xE2\x82\xAC\"", "\"a\\n\\u0041\"", "\"\\ud83d\\ude00x\""},
        {"\"a\"", "\"abcd\"", "\"\\ud83d\\ude00\""});
  check(R"({"type":"string","pattern":"^[a-z]+\\\"?$"})", {"\"ab\"", "\"ab\\\"\""},
        {"\"\"", "\"aB\"", "\"ab\"\""});
  check(R"({"type":"string","pattern":"b"})", {"\"b\"", "\"abc\\n\""}, {"\"ac\""});
  check(R"({"type":"string","pattern":"^a","maxLength":2})", {"\"a\"", "\"ab\""}, {"\"abc\"", "\"b\""});
  check(R"({"type":"string","format":"date"})", {"\"2024-02-28\"", "\"2024-12-31\""},
        {"\"2024-02-30\"", "\"2024-13-01\"", "\"x\""});
  check(R"({"type":"string","format":"ipv4"})", {"\"127.0.0.1\""}, {"\"256.0.0.1\"", "\"1.2.3\""});
  check(R"({"type":"string","format":"uuid"})", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123\""});
}

TEST_CASE("json schema: objects") {
  check(
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false})",
      {"{\"a\": 1}", "{\"a\":1,\"b\":\"x\"}"},
      {"{}", "{\"b\":\"x\"}", "{\"a\":1,\"c\":2}", "{\"a\":\"1\"}", "{\"a\":1,\"a\":1}"});
  check(R"({"type":"object","properties":{"a":{"type":"integer"}}})",
        {"{}", "{\"a\":1}", "{\"b\":null}", "{\"a\":1,\"ab\":2,\"\":3}"},
        {"{\"a\":null}", "{\"b\":1,\"a\":2}", "{\"\\u0061\":null}"});
  check(R"({"type":"object","additionalProperties":{"type":"integer"},"maxProperties":2,"minProperties":1})",
        {"{\"a\":1}", "{\"a\":1,\"b\":2}"}, {"{}", "{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":\"\"}"});
  check(
      R"({"type":"object","properties":{"a":true,"b":true,"c":true},"additionalProperties":false,"minProperties":2})",
      {"{\"a\":1,\"c\":1}", "{\"a\":1,\"b\":1,\"c\":1}"}, {"{}", "{\"b\":1}"});
  check(R"({"type":"object","propertyNames":{"pattern":"^x"},"required":["xa"]})", {"{\"xa\":1,\"xb\":2}"},
        {"{\"xa\":1,\"b\":2}", "{}"});
  check(R"({"type":"object","required":["z"],"properties":{"a":false}})", {"{\"z\":1}"},
        {"{}", "{\"a\":1,\"z\":1}"});
}

TEST_CASE("json schema: properties by patterns of their names") {
  check(
      R"({"type":"object","patternProperties":{"^n":{"type":"integer"},"s$":{"maximum":5}},"properties":{"nx":{"minimum":3}},"additionalProperties":false})",
      {"{}", "{\"n\":7}", "{\"ns\":5}", "{\"xs\":\"\"}", "{\"nx\":4,\"n\":1}"},
      {"{\"n\":\"\"}", "{\"ns\":6}", "{\"x\":1}", "{\"nx\":2}", "{\"nx\":\"\"}", "{\"nx\":4,\"nx\":4}"});
  check(
      R"({"allOf":[{"type":"object","patternProperties":{"a":{"type":"integer"}},"additionalProperties":{"type":"null"}},
                     {"additionalProperties":{"maximum":9}}]})",
      {"{\"a\":9,\"b\":null}"}, {"{\"a\":10}", "{\"b\":1}", "{\"a\":null}"});
  check(R"({"type":"integer","format":"int32"})", {"2147483647", "-2147483648"}, {"2147483648"});
}

TEST_CASE("json schema: arrays") {
  check(R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})", {"[1]", "[1,2,3]"},
        {"[]", "[1,2,3,4]"});
  check(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
        {"[]", "[1]", "[1,\"a\"]"}, {"[\"a\"]", "[1,\"a\",2]"});
  check(R"({"type":"array","items":[{"type":"integer"}],"additionalItems":{"type":"null"},"minItems":2})",
        {"[1,null]", "[1,null,null]"}, {"[1]", "[1,2]"});
  check(R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"});
}

TEST_CASE("json schema: constants, alternatives, conjunctions, references") {
  check(R"({"enum":["a\"b",1,null,{"x":[1,2]}]})",
        {"\"a\\\"b\"", "1", "null", "{\"x\": [1, 2]}", "{\"x\":[1,2]}"}, {"\"a\"", "2"});
  check(R"({"type":"string","enum":["a",1,"bcd"],"maxLength":2})", {"\"a\""}, {"1", "\"bcd\""});
  check(R"({"const":1.5})", {"1.5"}, {"1"});
  check(R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})", {"1", "\"a\""},
        {"\"ab\"", "null"});
  check(R"({"oneOf":[{"type":"integer"},{"type":"string"}]})", {"1", "\"a\""}, {"null"});
  check(
      R"({"oneOf":[{"properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["k"],"type":"object","additionalProperties":false},
                     {"properties":{"k":{"const":"b"},"y":{"type":"string"}},"required":["k"],"type":"object","additionalProperties":false}]})",
      {"{\"k\":\"a\",\"x\":1}", "{\"k\":\"b\"}"}, {"{\"k\":\"b\",\"x\":1}", "{\"k\":\"c\"}"});
  check(R"({"allOf":[{"type":"object","properties":{"a":{"minimum":3}},"required":["a"]},
                     {"properties":{"a":{"type":"integer","maximum":5},"b":{"type":"null"}}}]})",
        {"{\"a\":3}", "{\"a\":5,\"b\":null}"}, {"{\"a\":2}", "{\"a\":6}", "{\"a\":4.5}", "{}"});
  check(
      R"({"type":"object","properties":{"v":{"type":"integer"},"next":{"$ref":"#"}},"required":["v"],"additionalProperties":false})",
      {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}"}, {"{\"v\":1,\"next\":{}}"});
  check(
      R"({"$defs":{"t":{"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#/$defs/t"}}]}},"$ref":"#/$defs/t"})",
      {"null", "[null,[null]]"}, {"[1]"});
  check(
      R"({"$defs":{"a/b":{"type":"null"}},"properties":{"x":{"$ref":"#/$defs/a~1b"}},"type":"object","required":["x"]})",
      {"{\"x\":null}"}, {"{\"x\":1}"});
}

TEST_CASE("json schema: what is not enforced is refused by name") {
  const auto refuses = [](std::string_view source, std::string_view part) {
    const std::string error = refusal(kSchema, source);
    CHECK_MESSAGE(error.find(part) != std::string::npos, source, ": ", error);
    CHECK(error.find('\n') == std::string::npos);
  };
  for (const char* keyword :
       {"not", "if", "then", "else", "contains", "dependencies", "dependentRequired", "dependentSchemas",
        "unevaluatedProperties", "$dynamicRef", "minContains", "nullable", "typo"})
    refuses(std::string("{\"properties\":{\"a/b\":{\"") + keyword + "\":{}}}}",
            std::string("json_schema: #/properties/a~1b: keyword '") + keyword + "' is not supported");
  refuses(R"({"type":"array","uniqueItems":true})", "'uniqueItems'");
  refuses(R"({"type":"strin"})", "'type'");
  refuses(R"x({"type":"string","pattern":"(?=a)"})x", "'pattern': offset 0: lookahead");
  refuses(R"({"type":"string","pattern":"[a"})", "'pattern'");
  refuses(R"({"type":"string","format":"phone"})", "'format' \"phone\"");
  refuses(R"({"$ref":"http://example.com/x"})", "'$ref'");
  refuses(R"({"$ref":"#/$defs/x"})", "leads nowhere");
  refuses(R"({"properties":{"a":{"$id":"http://b/"}}})", "'$id' is only supported at the root");
  refuses(R"({"$ref":"#"})", "refers to itself");
  refuses(R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "refers to itself");
  refuses(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})",
          "'oneOf': alternatives 0 and 1 may both hold");
  refuses(R"({"type":"number","multipleOf":0.01})", "'multipleOf'");
  refuses(R"({"type":"object","minProperties":3})", "'minProperties'");
  refuses(R"({"properties":[]})", "'properties': an object of schemas was expected");
  refuses(R"({"minLength":-1})", "'minLength'");
  refuses(R"({"enum":[]})", "'enum'");
  refuses(R"({"type":"string","enum":[1]})", "no text");
  refuses(R"({"type":"object","required":["a"],"properties":{"a":false}})", "no text");
  refuses("[1]", "json_schema");
  refuses("{\"type\"", "json_schema");
  refuses("false", "no text");
}

TEST_CASE("json schema: descriptions change nothing") {
  const auto grammar = [](const std::string& title) {
    return text::compile_grammar({kSchema, R"({"title":")" + title +
                                               R"(","type":"object","properties":{"a":{"description":")" +
                                               title + R"(","type":"string"}}})"});
  };
  const auto plain = grammar("t");
  const auto odd = grammar(R"(\"::= root | [^\\n]* {{ }} \u0000 $ref # )");
  CHECK(plain->n_states() == odd->n_states());
  CHECK(plain->n_bytes() == odd->n_bytes());
}

TEST_CASE("json object and choices") {
  CHECK(accepts(text::GrammarKind::kJsonObject, "", "{\"a\": [true]}"));
  CHECK(!accepts(text::GrammarKind::kJsonObject, "", "[]"));
  CHECK(accepts(text::GrammarKind::kChoices, R"(["yes","no","\u00e9"])", "\xC3\xA9"));
  CHECK(!accepts(text::GrammarKind::kChoices, R"(["yes","no"])", "y"));
  CHECK(refusal(text::GrammarKind::kChoices, "[]").find("one or more") != std::string::npos);
  CHECK(refusal(text::GrammarKind::kChoices, "[1]").find("entry 0") != std::string::npos);
}
