#include <doctest/doctest.h>

#include "text/template/chat_prompt.h"

using namespace llmhost;

TEST_CASE("chat prompt: tools and documents are none unless given, now is the clock") {
  const auto chat = text::jinja::Template::parse(
      "{{ tools is none }} {{ documents is none }} {{ add_generation_prompt }} {{ now is defined }} {{ "
      "strftime_now('%d %b %Y') }}",
      "t");
  CHECK(text::render_chat(chat, OrderedJson::parse(R"({"messages": [], "now": "2024-07-26T14:05:09"})")) ==
        "True True False False 26 Jul 2024");
  CHECK(text::render_chat(chat,
                          OrderedJson::parse(R"({"tools": [], "documents": [1], "add_generation_prompt": true,
                                                       "now": "2020-02-29"})")) ==
        "False False True False 29 Feb 2020");
  CHECK_THROWS_AS(text::render_chat(chat, OrderedJson::parse(R"({"now": "yesterday"})")), Error);
}

TEST_CASE("chat prompt: reasoning is there under the names that templates read") {
  const auto chat = text::jinja::Template::parse(
      "{% for m in messages %}{{ m.reasoning_content }}-{{ m.thinking }};{% endfor %}", "t");
  CHECK(text::render_chat(chat, OrderedJson::parse(R"({"messages": [
            {"reasoning": "a"}, {"thinking": "b"}, {"reasoning_content": "c", "reasoning": "x"},
            {"thinking": "d", "reasoning_content": "e"}, {"reasoning_content": null, "role": "user"}]})")) ==
        "a-a;b-b;c-c;e-d;None-;");
}

TEST_CASE("chat prompt: a template is chosen by name, by tools, or as the default") {
  const auto list =
      OrderedJson::parse(R"([{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"},
                                           {"name": "rag", "template": "R"}])");
  CHECK(text::select_chat_template(list, std::nullopt, false) == "D");
  CHECK(text::select_chat_template(list, std::nullopt, true) == "T");
  CHECK(text::select_chat_template(list, "rag", true) == "R");
  CHECK_THROWS_WITH(text::select_chat_template(list, "x", false),
                    "chat_template: there is no template named 'x', there are: default, tool_use, rag");
  CHECK(text::select_chat_template(OrderedJson("S"), std::nullopt, true) == "S");
  CHECK_THROWS_AS(text::select_chat_template(OrderedJson(1), std::nullopt, true), Error);
}

TEST_CASE("chat prompt: an error names template, line and column; raise_exception only its message") {
  const auto message = [](const char* source) {
    try {
      text::render_chat(text::jinja::Template::parse(source, "x.jinja"), OrderedJson::object());
    } catch (const text::jinja::TemplateError& error) {
      return std::string(error.what()) + (error.raised() ? " (raised)" : "");
    }
    return std::string("no error");
  };
  CHECK(message("a\n {{ 1 + 'x' }}") == "x.jinja:2:7: unsupported operand types for +: 'int' and 'str'");
  CHECK(message("é{% if %}") == "x.jinja:1:8: Expected an expression, got 'end of statement block'");
  CHECK(message("{{ raise_exception('Only this') }}") == "Only this (raised)");
  CHECK(message("{{ messages[0].role }}") == "x.jinja:1:12: 'messages' is undefined");
}
