// Renders what Python's Jinja rendered: real chat templates on many conversations, and single features of the
// language.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "text/template/chat_prompt.h"

using namespace llmhost;

namespace {

const std::string kData = std::string(LLMHOST_TEST_DATA) + "/template/";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file, path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Outcome {
  std::string text;
  bool failed = false;
  bool raised = false;
};

Outcome render(const std::string& source, const std::string& name, const OrderedJson& variables) {
  try {
    return {text::render_chat(text::jinja::Template::parse(source, name), variables), false, false};
  } catch (const text::jinja::TemplateError& error) {
    return {error.what(), true, error.raised()};
  }
}

// Whether the outcome is the record's; only the messages of raise_exception have to be equal.
bool agrees(const Outcome& outcome, const OrderedJson& record) {
  if (record.contains("expected"))
    return !outcome.failed && outcome.text == record["expected"].get<std::string>();
  if (record["error_type"] != "raise_exception") return outcome.failed && !outcome.raised;
  return outcome.raised && outcome.text == record["error"].get<std::string>();
}

std::string difference(const Outcome& outcome, const OrderedJson& record) {
  return "\n  template: " + record["template"].dump() +
         (record.contains("case") ? " case " + record["case"].dump() : "") +
         "\n  got:      " + (outcome.failed ? "ERROR " : "") + OrderedJson(outcome.text).dump() +
         "\n  expected: " +
         (record.contains("expected") ? record["expected"].dump() : "ERROR " + record["error"].dump());
}

void check_snippets(const std::string& file, size_t at_least) {
  OrderedJson context = OrderedJson::parse(read(kData + "jinja_snippets_context.json"));
  context["now"] = "2024-07-26T14:05:09";
  std::istringstream lines(read(kData + file));
  size_t count = 0, failed = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto record = OrderedJson::parse(line);
    // Snippets run without a chat's variables.
    const auto chat_variables = record.value("variables", OrderedJson::object());
    OrderedJson variables = context;
    variables.update(chat_variables);
    Outcome outcome;
    try {
      text::jinja::RenderOptions options;
      options.clock = text::jinja::Clock::at(context["now"].get<std::string>());
      OrderedJson plain = variables;
      plain.erase("now");
      outcome.text = text::jinja::Template::parse(record["template"].get<std::string>(), "snippet")
                         .render(text::jinja::to_value(plain), options);
    } catch (const text::jinja::TemplateError& error) {
      outcome = {error.what(), true, error.raised()};
    }
    if (agrees(outcome, record)) continue;
    ++failed;
    FAIL_CHECK(difference(outcome, record));
  }
  MESSAGE(file, ": ", count - failed, " of ", count, " equal");
  CHECK(count >= at_least);
}

}  // namespace

TEST_CASE("template: single features as Python's Jinja") {
  check_snippets("jinja_snippets.jsonl", 300);
}

TEST_CASE("template: our own snippets as Python's Jinja") {
  check_snippets("extra_snippets.jsonl", 300);
}

TEST_CASE("template: real chat templates on real conversations") {
  const auto index = OrderedJson::parse(read(kData + "templates/index.json"));
  const auto cases = OrderedJson::parse(read(kData + "cases.json"));
  std::map<std::string, std::string> sources;
  std::istringstream lines(read(kData + "vectors.jsonl"));
  size_t count = 0, failed = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto record = OrderedJson::parse(line);
    const std::string name = record["template"];
    auto& source = sources[name];
    if (source.empty()) source = read(kData + "templates/" + name + ".jinja");
    OrderedJson variables = index.at(name).value("special_tokens", OrderedJson::object());
    const OrderedJson inputs = record.contains("inputs")
                                   ? record.at("inputs")
                                   : cases.at("cases").at(record.at("case").get<std::string>());
    variables.update(inputs);
    variables["now"] = cases["now"];
    const Outcome outcome = render(source, name, variables);
    if (agrees(outcome, record)) continue;
    if (++failed <= 20) FAIL_CHECK(difference(outcome, record));
  }
  MESSAGE("vectors: ", count - failed, " of ", count, " equal");
  CHECK(failed == 0);
  CHECK(count > 2600);
}
