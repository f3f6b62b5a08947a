// What structured output costs: grammar_masks TOKENIZER [ROUNDS]. For each of some JSON schemas a text is
// written token by token through the masks, the longest allowed token that agrees with it first; the first
// round is cold.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "text/grammar/grammar.h"
#include "text/tokenizer.h"

using namespace llmhost;

namespace {

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Case {
  const char* name;
  text::GrammarKind kind;
  const char* source;
  std::string text;
};

std::vector<Case> cases() {
  const std::string words =
      "The quick brown fox jumps over the lazy dog while seven wizards wait for 42 parcels. ";
  std::string text;
  for (int i = 0; i < 6; ++i) text += words;
  using text::GrammarKind;
  return {
      {"json_object", GrammarKind::kJsonObject, "",
       "{\"title\": \"" + text + "\", \"list\": [1, 2.5, {\"a\": null}]}"},
      {"person", GrammarKind::kJsonSchema,
       R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
        "email":{"type":"string","format":"email"},"tags":{"type":"array","items":{"type":"string"},"maxItems":8}},
        "required":["name","age"],"additionalProperties":false})",
       "{\"name\": \"" + text +
           "\", \"age\": 42, \"email\": \"ann.lee@example.com\", \"tags\": [\"reader\", \"walker\"]}"},
      {"open object, lengths", GrammarKind::kJsonSchema,
       R"({"type":"object","properties":{"summary":{"type":"string","maxLength":2000},"score":{"type":"number"}}})",
       "{\"summary\": \"" + text + "\", \"score\": 0.75, \"more\": \"" + words + "\"}"},
      {"recursive tree", GrammarKind::kJsonSchema,
       R"({"$defs":{"node":{"type":"object","properties":{"value":{"type":"string","maxLength":200},"children":{"type":"array",
        "items":{"$ref":"#/$defs/node"}}},"required":["value","children"],"additionalProperties":false}},"$ref":"#/$defs/node"})",
       "{\"value\": \"root\", \"children\": [{\"value\": \"" + words +
           "\", \"children\": []}, {\"value\": \"b\", \"children\": [{\"value\": "
           "\"c\", \"children\": []}]}]}"},
      {"regex", GrammarKind::kRegex, "[A-Z][^\\n]{0,2000}\\.", text.substr(0, text.size() - 1)},
  };
}

// Times of each step in microseconds, allowed() and accept() together.
std::vector<double> write(const Case& one, const std::shared_ptr<const text::Grammar>& grammar,
                          const std::shared_ptr<const text::TokenVocabulary>& vocabulary) {
  std::vector<double> times;
  const auto matcher = text::make_matcher(grammar, vocabulary, {});
  std::vector<uint64_t> mask(static_cast<size_t>(vocabulary->size() + 63) / 64);
  for (size_t at = 0; at < one.text.size();) {
    double begin = now_us();
    std::fill(mask.begin(), mask.end(), 0);
    matcher->allowed(mask);
    double took = now_us() - begin;
    int32_t best = -1;
    for (int32_t id = 0; id < vocabulary->size(); ++id) {
      if ((mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) == 0) continue;
      const std::string_view bytes = vocabulary->bytes_of(id, at == 0);
      if (one.text.compare(at, bytes.size(), bytes) == 0 &&
          (best < 0 || bytes.size() > vocabulary->bytes_of(best, at == 0).size()))
        best = id;
    }
    if (best < 0) {
      fmt::print("{}: no token goes on at {}\n", one.name, one.text.substr(at, 20));
      break;
    }
    begin = now_us();
    matcher->accept(best);
    times.push_back(took + now_us() - begin);
    at += vocabulary->bytes_of(best, at == 0).size();
  }
  return times;
}

void print(const char* name, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  double sum = 0;
  for (const double time : times) sum += time;
  fmt::print("  {:6} {} tokens, mean {:8.1f} us, median {:8.1f}, p99 {:8.1f}, most {:8.1f}\n", name,
             times.size(), sum / static_cast<double>(times.size()), times[times.size() / 2],
             times[times.size() * 99 / 100], times.back());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print("usage: grammar_masks TOKENIZER [ROUNDS]\n");
    return 2;
  }
  const auto tokenizer = text::load_tokenizer(argv[1]);
  double begin = now_us();
  const auto vocabulary = std::make_shared<const text::TokenVocabulary>(*tokenizer);
  fmt::print("{} tokens, read in {:.0f} ms\n", vocabulary->size(), (now_us() - begin) / 1000);
  for (const Case& one : cases()) {
    begin = now_us();
    const auto grammar = text::compile_grammar({one.kind, one.source});
    fmt::print("{}: compiled in {:.2f} ms, {} states, {} KiB\n", one.name, (now_us() - begin) / 1000,
               grammar->n_states(), grammar->n_bytes() >> 10);
    print("cold", write(one, grammar, vocabulary));
    for (int round = argc > 2 ? std::atoi(argv[2]) : 1; round > 0; --round)
      print("warm", write(one, grammar, vocabulary));
  }
  return 0;
}
