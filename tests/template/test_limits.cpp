// A hostile template ends with an error, soon, whatever it does.
#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "support/sanitizer.h"
#include "text/template/chat_prompt.h"

using namespace llmhost;

namespace {

std::string repeated(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

// The error's message; "" if the template renders.
std::string error_of(const std::string& source, const OrderedJson& variables = OrderedJson::object()) {
  try {
    text::render_chat(text::jinja::Template::parse(source, "t"), variables);
  } catch (const text::jinja::TemplateError& error) {
    return error.what();
  }
  return "";
}

bool stops(const std::string& source, const char* why) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string message = error_of(source);
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  CHECK(elapsed < std::chrono::seconds(2 * test::kSanitizerFactor));  // far above the usual 50 ms
  CAPTURE(message);
  return message.find(why) != std::string::npos;
}

}  // namespace

TEST_CASE("limits: time") {
  CHECK(stops("{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}", "steps"));
  CHECK(stops("{% for a in range(1000000) %}{% endfor %}", "range too big"));
  CHECK(stops("{% set x = range(100000)|list %}{% for a in x %}{{ x == x }}{% endfor %}", "steps"));
  CHECK(stops("{% set x = 'a' * 1000000 %}{% for a in range(100000) %}{% set y = x.split('b') %}{% endfor %}",
              "steps"));
  CHECK(stops("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "nested"));
  CHECK(stops("{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% set ns.x = ns.x * 3 %}{% endfor %}",
              "too big"));
}

TEST_CASE("limits: memory and output") {
  CHECK(
      stops("{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "memory"));
  CHECK(
      stops("{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "memory"));
  CHECK(
      stops("{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "memory"));
  CHECK(
      stops("{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor "
            "%}{{ ns.s }}",
            "steps"));
  CHECK(stops("{{ 'x' * 1000000000000 }}", "memory"));
  CHECK(stops("{{ 'x'.center(4000000000) }}", "memory"));
  CHECK(stops("{{ '%1000000000d' % 1 }}", "memory"));
  CHECK(stops("{{ '{:1000000000}'.format(1) }}", "memory"));
  CHECK(stops("{{ ('x' * 100000).replace('', 'y' * 100000) }}", "memory"));
  CHECK(stops("{% for i in range(10000) %}{{ 'x' * 10000 }}{% endfor %}", "output"));
}

TEST_CASE("limits: nesting") {
  for (const char* open :
       {"(", "[", "{1:", "-", "not ", "+", "x[", "f(", "x.f(1)|d(", "1 if ", "1 if 1 else "})
    CHECK(error_of("{{ " + repeated(open, 100000)) != "");
  CHECK(stops("{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}", "nested"));
  CHECK(stops(repeated("{% if 1 %}", 10000) + repeated("{% endif %}", 10000), "nested"));
  CHECK(stops("{{ 1" + repeated(" + 1", 100000) + " }}", "operators"));
  CHECK(stops("{{ x" + repeated(".x", 100000) + " }}", "operators"));
  CHECK(stops("{{ x" + repeated("|upper", 100000) + " }}", "operators"));
  CHECK(error_of("{{ 1" + repeated(" + 1", 500) + " }}") == "");
  CHECK(error_of("{{ " + repeated("(", 100) + "1" + repeated(")", 100) + " }}") == "");
  CHECK(stops("{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = [ns.x] %}{% endfor %}",
              "nested"));
  CHECK(stops("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "nested"));
  CHECK(stops("{% set ns = namespace() %}{% set ns.x = [ns, ns] %}{{ ns }}", "nested"));
}

TEST_CASE("limits: long chains of objects, functions and macros") {
  const auto chain = [](const char* link) {
    return error_of(std::string("{% set o = namespace(x=0) %}{% for i in range(50000) %}") + link +
                    "{% endfor %}{% set o.x = 0 %}");
  };
  chain("{% set o.x = cycler(o.x) %}");
  chain("{% set o.x = [o.x].count %}");
  chain("{% set o.x = {'a': o.x}.get %}");
  chain("{% set o.x = namespace(x=o.x) %}");
  chain("{% set previous = o.x %}{% macro m() %}{% endmacro %}{% set o.x = m %}");
  chain("{% set previous = o.x %}{% set o.x = loop %}");
  CHECK(stops("{% macro m(x, y=m(x)) %}{{ y }}{% endmacro %}{{ m(1) }}", "nested"));
}

TEST_CASE("limits: functions outlive what they were taken from") {
  CHECK(error_of("{% block a %}{{ x }}{% endblock %}{% set f = self.a %}{{ f() }}") == "");
  CHECK(error_of("{% set ns = namespace() %}{% for i in [1] %}{% set ns.f = loop.changed %}{% endfor %}"
                 "{{ ns.f(1) }}{{ ns.f(ns) }}") == "");
}

TEST_CASE("limits: deep JSON is refused, deep enough JSON is rendered") {
  const auto nested = [](size_t depth) {
    return OrderedJson::parse(R"({"x": )" + repeated("[", depth) + repeated("]", depth) + "}");
  };
  const auto chat = text::jinja::Template::parse("{{ x }}{{ x|tojson }}", "t");
  CHECK(text::render_chat(chat, nested(200)) ==
        repeated("[", 200) + repeated("]", 200) + repeated("[", 200) + repeated("]", 200));
  CHECK_THROWS_AS(text::render_chat(chat, nested(2000)), Error);
}

TEST_CASE("limits: values that hold each other are let go") {  // a leak shows under the address sanitizer
  CHECK(error_of(
            "{% set ns = namespace() %}{% set ns.self = ns %}{% macro m() %}{% endmacro %}{% set ns.m = m %}"
            "{% for i in [1] %}{% macro n() %}{{ n }}{% endmacro %}{% set ns.n = n %}{% set ns.l = loop %}{% "
            "endfor %}") == "");
  CHECK(error_of("{% for i in [1, 2] %}{{ loop.changed(loop) }}{% endfor %}") == "");
  CHECK(error_of("{% set ns = namespace() %}{% for i in [1] %}{% set ns.l = loop %}{% endfor %}"
                 "{{ ns.l.changed(ns.l) }}") == "");
}
