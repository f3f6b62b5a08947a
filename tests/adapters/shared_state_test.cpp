// F37: state computed with one adapter is never taken over by another, by the base model, or by what was
// loaded later under the same name; state of the same content is, and shows in no bit. Every order of two
// adapters and the base model, each answer beside a cold run. The scope that requests state is the same for
// all: the engine itself keeps adapters apart.
#include <doctest/doctest.h>

#include <array>
#include <random>
#include <vector>

#include "adapters/adapter_model.h"
#include "adapters/temporary_adapter.h"
#include "engine/session.h"

using namespace llmhost;
using namespace llmhost::test;

namespace {

using AdapterPointer = std::shared_ptr<const engine::Adapter>;

constexpr int64_t kOutput = 6;

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // the rows they were chosen from
  int64_t reused = 0;

  bool is_same(const Answer& other) const { return tokens == other.tokens && logits == other.logits; }
};

engine::Request request_for(const std::vector<int32_t>& prompt, const AdapterPointer& adapter,
                            Answer& answer) {
  engine::Request request;
  request.prompt = prompt;
  request.adapter = adapter;
  request.max_tokens = kOutput;
  request.sampling.temperature = 0;
  request.on_token_logits = [&answer](std::span<const float> row) {
    answer.logits.insert(answer.logits.end(), row.begin(), row.end());
  };
  request.on_finish = [&answer](engine::Result&& result) {
    REQUIRE(result.error == "");
    answer.tokens = std::move(result.tokens);
    answer.reused = result.usage.reused_tokens;
  };
  return request;
}

engine::EngineOptions caching() {
  engine::EngineOptions options;
  options.prefix_cache.pages = engine::PrefixCacheOptions::kAllPages;
  return options;
}

std::vector<int32_t> prompt_of(size_t n) {
  std::vector<int32_t> prompt;
  for (size_t i = 0; i < n; ++i) prompt.push_back(static_cast<int32_t>(3 + (i * i * 7 + i) % 50));
  return prompt;
}

// The engine under test has one to itself, and so have the cold runs: an engine owns its runner's state.
AdapterModel& warm_model() {
  static AdapterModel model("finetune/models/llama");
  return model;
}
AdapterModel& cold_model() {
  static AdapterModel model("finetune/models/llama");
  return model;
}

using Choices = std::array<AdapterPointer, 3>;

// Base, and two adapters.
Choices choices_on(const engine::AdapterHost& host) {
  return {nullptr, host.load(test::data("finetune/lora/llama_qv")),
          host.load(test::data("finetune/lora/llama_all"))};
}
const Choices& warm_choices() {
  static const Choices choices = choices_on(warm_model().adapters());
  return choices;
}
const Choices& cold_choices() {
  static const Choices choices = choices_on(cold_model().adapters());
  return choices;
}

Answer cold(const std::vector<int32_t>& prompt, const AdapterPointer& adapter) {
  Answer answer;
  engine::Engine engine(cold_model().stack().runner());
  engine.submit(request_for(prompt, adapter, answer));
  engine.run_all();
  return answer;
}

}  // namespace

TEST_CASE("F37: all orders of two adapters and the base model: warm is cold bit for bit") {
  const std::vector<int32_t> prompt = prompt_of(29);
  std::array<Answer, 3> expected;
  for (size_t i = 0; i < 3; ++i) expected[i] = cold(prompt, cold_choices()[i]);
  CHECK_FALSE(expected[0].is_same(expected[1]));
  CHECK_FALSE(expected[1].is_same(expected[2]));
  constexpr size_t kOrders = 3 * 3 * 3 * 3;
  for (size_t order = 0; order < kOrders; ++order) {
    engine::Engine engine(warm_model().stack().runner(), caching());
    std::array<bool, 3> seen{};
    for (size_t rest = order, step = 0; step < 4; ++step, rest /= 3) {
      const size_t choice = rest % 3;
      Answer answer;
      engine.submit(request_for(prompt, warm_choices()[choice], answer));
      engine.run_all();
      CHECK(answer.is_same(expected[choice]));
      CHECK(answer.reused == (seen[choice] ? 24 : 0));
      seen[choice] = true;
    }
  }
}

TEST_CASE("F37: an adapter that is loaded anew under its name") {
  const std::vector<int32_t> prompt = prompt_of(29);
  TemporaryAdapter folder("finetune/lora/llama_qv");
  engine::Engine engine(warm_model().stack().runner(), caching());
  const auto ask = [&](int64_t reused) {
    const AdapterPointer adapter = warm_model().adapters().load(folder.folder());
    Answer answer;
    engine.submit(request_for(prompt, adapter, answer));
    engine.run_all();
    CHECK(answer.is_same(cold(prompt, cold_model().adapters().load(folder.folder()))));
    CHECK(answer.reused == reused);
  };
  ask(0);
  folder.copy("finetune/lora/llama_all");
  ask(0);
  ask(24);
  folder.copy("finetune/lora/llama_qv");
  ask(24);                            // the content of the first time
  folder.patch({{"lora_alpha", 3}});  // other numbers from the same tensors
  ask(0);
}

TEST_CASE("F37: conversations that change their adapter") {
  engine::Engine engine(warm_model().stack().runner());
  engine::Session session(engine);
  std::vector<int32_t> talk = prompt_of(9);
  for (const size_t choice : {0, 1, 1, 2, 0, 0}) {
    Answer answer;
    session.submit(request_for(talk, warm_choices()[choice], answer));
    engine.run_all();
    CHECK(answer.is_same(cold(talk, cold_choices()[choice])));
    talk.push_back(answer.tokens.front());
  }
}

TEST_CASE("F37: random prompts, adapters, batches and little memory") {
  std::mt19937 random(5);
  const std::vector<int32_t> base = prompt_of(40);
  engine::RunnerOptions options = warm_model().stack().runner().options();
  options.max_sequences = 5;
  options.state_tokens = 160;
  engine::ModelStack small(warm_model().stack().model(), warm_model().stack().runner().device(), options);
  const engine::AdapterHost host(small, built_plugins());
  const Choices adapters = choices_on(host);
  engine::Engine engine(small.runner(), caching());
  int64_t reused = 0;
  for (int round = 0; round < 10; ++round) {
    std::vector<std::vector<int32_t>> prompts;
    std::vector<size_t> chosen;
    std::vector<Answer> answers(12);
    for (Answer& answer : answers) {
      prompts.emplace_back(base.begin(), base.begin() + static_cast<std::ptrdiff_t>(1 + random() % 40));
      prompts.back().push_back(static_cast<int32_t>(random() % 50));
      chosen.push_back(random() % 3);
      engine.submit(request_for(prompts.back(), adapters[chosen.back()], answer));
      if (random() % 2 == 0) engine.run_step();
    }
    engine.run_all();
    for (size_t i = 0; i < answers.size(); ++i) {
      CHECK(answers[i].is_same(cold(prompts[i], cold_choices()[chosen[i]])));
      reused += answers[i].reused;
    }
  }
  CHECK(reused > 200);
  CHECK(engine.stats().prefix_evictions > 0);
}
