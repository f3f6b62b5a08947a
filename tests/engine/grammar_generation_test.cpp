// Structured output on a real model through loader, CPU plugin and engine.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "engine/grammar_constraint.h"
#include "engine/lookup.h"
#include "engine/story_model.h"
#include "text/tokenizer.h"

using namespace llmhost;
using namespace llmhost::engine;

namespace {

const text::Tokenizer& tokenizer() {
  static const auto loaded = text::load_tokenizer(test::data("models/stories260K"));
  return *loaded;
}

std::shared_ptr<const text::TokenVocabulary> vocabulary() {
  static const auto read = std::make_shared<const text::TokenVocabulary>(tokenizer());
  return read;
}

constexpr int32_t kStop = 2;  // the model's end token

Request request_of(size_t prompt, float temperature, uint64_t seed, int64_t max_tokens) {
  Request request;
  request.prompt = test::story_prompts()[prompt];
  request.sampling.temperature = temperature;
  request.sampling.seed = seed;
  request.max_tokens = max_tokens;
  request.stop_tokens = {kStop};
  return request;
}

std::string text_of(const Result& result) {
  return tokenizer().decode(result.tokens, {.skip_special = true});
}

bool matches(const std::shared_ptr<const text::Grammar>& grammar, const std::string& text) {
  const auto matcher = text::make_matcher(grammar, vocabulary(), {});
  return matcher->try_accept_text(text) && matcher->may_end();
}

}  // namespace

TEST_CASE(
    "what a real model writes under a grammar is of the grammar; neighbours write what they write alone") {
  const std::vector<text::GrammarSpec> specs = {
      {text::GrammarKind::kJsonSchema,
       R"({"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer",
        "minimum":1,"maximum":99},"tags":{"type":"array","items":{"enum":["red","blue"]},"maxItems":2}},
        "required":["name","age","tags"],"additionalProperties":false})"},
      {text::GrammarKind::kRegex, "[A-Z][a-z]{2,8}( [a-z]{1,8}){1,5}\\."},
      {text::GrammarKind::kChoices, R"(["Once upon a time","The end","Lily \u00e9"])"},
      {text::GrammarKind::kEbnf, "root ::= \"(\" root? \")\" | [a-c]{1,3}"},
  };
  test::StoryModel model(test::story_options());
  const auto run = [&](bool with_neighbours, bool speculates) {
    std::unique_ptr<Proposer> proposer;
    if (speculates) proposer = std::make_unique<LookupProposer>(SpeculationOptions{.ngram_min = 1});
    Engine engine(model.runner(), {}, std::move(proposer));
    std::map<RequestId, size_t> constrained;
    std::vector<RequestId> free;
    for (uint64_t round = 0; round < 6; ++round)
      for (size_t i = 0; i < specs.size(); ++i) {
        if (with_neighbours) {
          Request request = request_of(round + i, round % 2 == 0 ? 0.0F : 1.0F, round, 90);
          request.constraint =
              make_grammar_constraint(text::compile_grammar(specs[i]), vocabulary(), {kStop});
          constrained[engine.submit(std::move(request))] = i;
        }
        free.push_back(engine.submit(request_of(i, 0.8F, round, 30)));
      }
    engine.run_all();
    std::vector<std::vector<int32_t>> tokens;
    for (const RequestId id : free) tokens.push_back(engine.take_result(id).value().tokens);
    size_t n_ended = 0;
    for (const auto& [id, i] : constrained) {
      const Result result = engine.take_result(id).value();
      INFO(specs[i].text, " ", text_of(result), " ", result.error);
      REQUIRE((result.reason == FinishReason::kStop || result.reason == FinishReason::kLength));
      CHECK(result.usage.proposed == 0);
      if (result.reason == FinishReason::kLength) continue;
      ++n_ended;
      REQUIRE(matches(text::compile_grammar(specs[i]), text_of(result)));
      if (i == 0) CHECK(Json::parse(text_of(result)).at("age").get<int>() >= 1);
    }
    if (with_neighbours) CHECK(n_ended > constrained.size() / 2);
    return tokens;
  };
  const auto alone = run(false, false);
  CHECK(run(true, false) == alone);
  CHECK(run(true, true) == alone);
}
