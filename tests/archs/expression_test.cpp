// The language of architecture descriptions: what expressions give, what they read, where they are wrong.
#include "expression.h"

#include <doctest/doctest.h>

#include "archs/some_model.h"

namespace llmhost::test {
namespace {

using declarative::Context;
using declarative::Expression;
using declarative::refuse_unknown_words;
using declarative::to_text;

const char* const kConfig =
    R"({"layers": 4, "eps": 0.5, "name": "relu", "on": true, "off": false, "gone": null,
  "types": ["full", "near"], "rope": {"near": {"theta": 500}}, "full": 7})";

std::string result(const char* text, SomeModel& some) {
  const llmh::Model model = some.model();
  Context context{model, {}};
  context.variables["hidden"] = 32.0;
  context.variables["i"] = 1.0;
  return to_text(Expression::parse(text).evaluate(context));
}

std::string result(const char* text) {
  SomeModel some(kConfig, {{"m.1.w", {8, 2}}});
  return result(text, some);
}

std::string error(const char* text) {
  try {
    result(text);
  } catch (const llmh::Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("numbers bind as they do on paper") {
  CHECK(result("1 + 2 * 3") == "7");
  CHECK(result("(1 + 2) * 3") == "9");
  CHECK(result("2 * 3 ** 2") == "18");
  CHECK(result("2 ** 3 ** 2") == "512");
  CHECK(result("4 ** -0.5") == "0.5");
  CHECK(result("-2 ** 2") == "-4");
  CHECK(result("7 % 4 - 1") == "2");
  CHECK(result("10 - 2 - 3") == "5");
  CHECK(result("sqrt(hidden / 2) + floor(2.7) + min(1, 2) + max(1, 2)") == "9");
}

TEST_CASE("keys, and what holds when they are absent") {
  CHECK(result("$layers") == "4");
  CHECK(result("$gone | 3") == "3");
  CHECK(result("$missing | $gone | $layers") == "4");
  CHECK(result("$off | true") == "false");
  CHECK(result("$missing") == "nothing");
  CHECK(result("$types[i]") == "near");
  CHECK(result("$nothing[2] | 'none'") == "none");
  CHECK(result("$rope[$types[i]].theta") == "500");
  CHECK(result("present('rope.' + $types[i])") == "true");
  CHECK(result("count('types') + rows('m.' + i + '.w')") == "10");
  CHECK(result("has('m.' + i + '.w') and not has('m.2.w')") == "true");
}

TEST_CASE("conditions") {
  CHECK(result("$on ? 1 : 2") == "1");
  CHECK(result("$off ? 1 : $on ? 2 : 3") == "2");
  CHECK(result("$name == 'relu' and 1 < 2 or false") == "true");
  CHECK(result("$name == relu") == "true");
  CHECK(result("$missing == null") == "true");
  CHECK(result("$missing ? 1 : 0") == "0");
  CHECK(result("not $on or $layers >= 4") == "true");
}

TEST_CASE("every key of an expression counts as read, on whichever side it stands") {
  SomeModel some(R"({"a": true, "b": 1, "c": 2, "d": 3, "e": 4})");
  CHECK(result("$a ? $b | $c : $d", some) == "1");
  CHECK(some.unread() == std::vector<std::string>{"e"});
}

TEST_CASE("what is wrong is said with its place") {
  CHECK(error("1 +") == "expression '1 +', character 4: a value expected");
  CHECK(error("1 2") == "expression '1 2', character 3: unexpected '2'");
  CHECK(error("(1") == "expression '(1', character 3: ')' expected");
  CHECK(error("$") == "expression '$', character 2: a config key expected after '$'");
  CHECK(error("$a[1") == "expression '$a[1', character 5: ']' expected");
  CHECK(error("'open") == "expression ''open', character 1: the text has no closing quote");
  CHECK(error("1 ? 2") == "expression '1 ? 2', character 6: ':' expected");
  CHECK(error(std::string(200, '(').c_str()).find("nested too deeply") != std::string::npos);
  CHECK(error((std::string(4000, '-') + "1").c_str()).find("nested too deeply") != std::string::npos);
}

TEST_CASE("what cannot be worked out") {
  CHECK(error("$types[2] | 'none'") == "config: 'types' has 2 entries; entry 2 is asked for, counted from 0");
  CHECK(error("$types[1e300]").find("config: 'types' has 2 entries") == 0);
  CHECK(error("$types[0 - 1]").find("config: 'types' has 2 entries") == 0);
  CHECK(error("$missing + 1") == "config: 'missing' is missing");
  CHECK(error("1 / 0") == "a division by zero");
  CHECK(error("1 % ($layers - 4)") == "a division by zero");
  CHECK(error("$name * 2").find("a number was expected, there is relu") == 0);
  CHECK(error("sqrt(1, 2)") == "'sqrt' takes 1 values, not 2");
  CHECK(error("cube(1)").find("'cube' is no function; known are") == 0);
}

TEST_CASE("a kind of layer that no expression knows is refused by name") {
  const auto refusal = [](const char* kinds, std::vector<const char*> expressions) -> std::string {
    SomeModel some(kinds);
    const llmh::Model model = some.model();
    Context context{model, {}};
    for (const char* text : expressions)
      for (const double i : {0.0, 1.0}) {
        context.variables["i"] = i;
        Expression::parse(text).evaluate(context);
      }
    try {
      refuse_unknown_words(*context.comparisons);
    } catch (const llmh::Error& e) {
      return e.what();
    }
    return "";
  };
  const char* const window = "($kinds[i] | 'far') == 'near' ? 8 : 0";
  CHECK(refusal(R"({"kinds": ["near", "far"]})", {window}).empty());
  CHECK(refusal(R"({"kinds": ["near", "full_attention"]})", {window}).empty());
  CHECK(refusal(R"({})", {window}).empty());
  CHECK(refusal(R"({"kinds": ["near", "linear"]})", {window}) ==
        "config: 'kinds.1' is 'linear', which this architecture does not compute; known are far, near");
  CHECK(refusal(R"({"kinds": ["near", "linear"]})", {window, "$kinds[i] != linear ? 1 : 2"}).empty());
}

}  // namespace llmhost::test
