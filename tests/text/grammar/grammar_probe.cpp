// Reads one JSON object a line from standard input: {"kind", "text", "samples": n, "seed", "instances":
// [texts]}. Writes one a line: {"error"} or {"states", "compile_ms", "samples": [texts], "accepted":
// [bools]}. Samples are random walks through the masks of a small vocabulary.
#include <fmt/core.h>

#include <chrono>
#include <iostream>
#include <random>

#include "core/error.h"
#include "core/json.h"
#include "text/grammar/grammar.h"

using namespace llmhost;

namespace {

std::vector<std::string> make_tokens() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* token :
       {"\":", "\": ", "\",",   "\", ",     "{\"",      "\"}",   "[]",   "{}",    "],",   "},",
        "]",   "}",    "}}",    "\"]",      "[{",       "[[",    "true", "false", "null", "12",
        "00",  "0.",   ".5",    "1e",       "abc",      "foo",   "bar",  "the ",  " a",   "\n  ",
        "\\n", "\\\"", "\\u00", "\xC3\xA9", "\xE2\x82", "2024-", ":",    ","})
    tokens.emplace_back(token);
  return tokens;
}

text::GrammarKind kind_of(const std::string& name) {
  for (const auto kind : {text::GrammarKind::kJsonObject, text::GrammarKind::kJsonSchema,
                          text::GrammarKind::kRegex, text::GrammarKind::kChoices, text::GrammarKind::kEbnf})
    if (text::to_text(kind) == name) return kind;
  throw_invalid("no kind of grammar: {}", name);
}

using Mask = std::vector<uint64_t>;

// A text that may end; when it grows long, tokens that lead to an end are preferred.
std::string sample(const std::shared_ptr<const text::Grammar>& grammar,
                   const std::shared_ptr<const text::TokenVocabulary>& vocabulary, std::mt19937& random) {
  constexpr int kMostSteps = 3000;
  constexpr int kLongSteps = 60;
  const int32_t stop = vocabulary->size();
  const auto matcher = text::make_matcher(grammar, vocabulary, {stop});
  std::string text;
  for (int step = 0; step < kMostSteps; ++step) {
    if (matcher->is_complete()) return text;
    Mask mask(static_cast<size_t>(stop) / 64 + 1);
    matcher->allowed(mask);
    std::vector<int32_t> allowed;
    std::vector<int32_t> closing;
    for (int32_t id = 0; id <= stop; ++id) {
      if ((mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) == 0) continue;
      allowed.push_back(id);
      if (id < stop &&
          std::string_view("}]\"").find(vocabulary->bytes_of(id, false)[0]) != std::string_view::npos)
        closing.push_back(id);
    }
    if (allowed.empty()) return "dead end after: " + text;
    const bool may_end = allowed.back() == stop;
    if (may_end && (step > kLongSteps || random() % 4 == 0)) return text;
    const bool closes = step > kLongSteps && !closing.empty() && random() % 8 != 0;
    const auto& from = closes ? closing : allowed;
    const int32_t chosen = from[random() % (from.size() - (from.back() == stop ? 1 : 0))];
    text += vocabulary->bytes_of(chosen, step == 0);
    matcher->accept(chosen);
  }
  return "";
}

// For each beginning of a text, the bytes that may come next, 256 for the end.
Json bytes_after_each(const std::shared_ptr<const text::Grammar>& grammar,
                      const std::shared_ptr<const text::TokenVocabulary>& vocabulary,
                      const std::string& text) {
  Json out = Json::array();
  const auto matcher = text::make_matcher(grammar, vocabulary, {});
  for (size_t i = 0; i <= text.size(); ++i) {
    Mask mask(static_cast<size_t>(vocabulary->size()) / 64 + 1);
    matcher->allowed(mask);
    Json bytes = Json::array();
    for (size_t byte = 0; byte < 256; ++byte)
      if ((mask[byte / 64] >> (byte % 64) & 1) != 0) bytes.push_back(byte);
    if (matcher->may_end()) bytes.push_back(256);
    out.push_back(std::move(bytes));
    if (i < text.size() && !matcher->try_accept_text(text.substr(i, 1))) break;
  }
  return out;
}

Json answer(const Json& question, const std::shared_ptr<const text::TokenVocabulary>& vocabulary) {
  Json out;
  const auto begin = std::chrono::steady_clock::now();
  const auto grammar =
      text::compile_grammar({kind_of(question.at("kind")), question.value("text", std::string())});
  out["compile_ms"] =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  out["states"] = grammar->n_states();
  std::mt19937 random(question.value("seed", 1U));
  out["samples"] = Json::array();
  for (int i = question.value("samples", 0); i > 0; --i)
    out["samples"].push_back(sample(grammar, vocabulary, random));
  out["accepted"] = Json::array();
  for (const Json& instance : question.value("instances", Json::array())) {
    const auto matcher = text::make_matcher(grammar, vocabulary, {});
    out["accepted"].push_back(matcher->try_accept_text(instance.get_ref<const std::string&>()) &&
                              matcher->may_end());
  }
  if (question.contains("follow")) out["bytes"] = bytes_after_each(grammar, vocabulary, question["follow"]);
  return out;
}

}  // namespace

int main() {
  const auto vocabulary = std::make_shared<const text::TokenVocabulary>(make_tokens());
  for (std::string line; std::getline(std::cin, line);) {
    Json out;
    try {
      out = answer(parse_json(line, "question"), vocabulary);
    } catch (const std::exception& error) {
      out = {{"error", error.what()}};
    }
    std::cout << out.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  }
  return 0;
}
