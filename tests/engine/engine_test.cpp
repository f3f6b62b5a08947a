#include "engine/engine.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "engine/fake_backend.h"
#include "engine/session.h"
#include "engine/small_engine.h"

using namespace llmhost;
using namespace llmhost::engine;
using llmhost::test::FakeModel;
using llmhost::test::FakeOptions;
using llmhost::test::random_prompt;

namespace {

RunnerOptions small_runner() {
  return test::small_runner(16, 8);
}

Request greedy(std::vector<int32_t> prompt, int64_t max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.max_tokens = max_tokens;
  return request;
}

std::string refusal(Engine& engine, Request request) {
  try {
    engine.submit(std::move(request));
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// "a" + token as text, every third token an incomplete character that waits for the next one.
class TestDecoder : public TokenDecoder {
 public:
  void push(int32_t token, std::string& out) override {
    held_ += static_cast<char>('a' + token % 26);
    if (token % 3 == 0) return;
    out += held_;
    held_.clear();
  }
  void finish(std::string& out) override {
    out += held_;
    held_.clear();
  }

 private:
  std::string held_;
};

std::string text_of(const std::vector<int32_t>& tokens) {
  std::string text;
  for (int32_t token : tokens) text += static_cast<char>('a' + token % 26);
  return text;
}

}  // namespace

TEST_CASE("a request gives what the model gives alone, whatever the batch, the chunks and the memory") {
  std::mt19937 random(11);
  int64_t preemptions = 0;
  for (int round = 0; round < 40; ++round) {
    RunnerOptions options = small_runner();
    options.max_sequences = 1 + static_cast<int32_t>(random() % 6);
    options.max_tokens = options.max_sequences + static_cast<int32_t>(random() % 20);
    options.max_outputs = options.max_sequences + static_cast<int32_t>(random() % 5);
    options.page_tokens = 1 + static_cast<int32_t>(random() % 9);
    options.state_tokens = round % 2 == 0 ? 0 : 64 + static_cast<int64_t>(random() % 60);
    FakeOptions fake;
    fake.host_visible = round % 3 != 0;
    fake.scaling_from = round % 4 == 0 ? 10 : INT32_MAX;
    FakeModel model(options, fake);
    EngineOptions engine_options;
    engine_options.prefill_chunk = static_cast<int32_t>(random() % 4) * 3;
    Engine engine(model.runner(), engine_options);
    std::map<RequestId, std::vector<int32_t>> expected;
    for (int i = 0; i < 12; ++i) {
      const std::vector<int32_t> prompt = random_prompt(random, 1 + random() % 30);
      const auto n = static_cast<int64_t>(random() % 30);
      Request request = greedy(prompt, n);
      request.priority = static_cast<int32_t>(random() % 2);
      expected[engine.submit(std::move(request))] = test::fake_greedy(prompt, n, fake.scaling_from);
      for (uint32_t steps = random() % 4; steps > 0; --steps) engine.run_step();
    }
    engine.run_all();
    for (const auto& [id, tokens] : expected) {
      const auto result = engine.take_result(id);
      REQUIRE(result.has_value());
      REQUIRE(result->error == "");
      REQUIRE(result->reason == FinishReason::kLength);
      REQUIRE(result->tokens == tokens);
    }
    CHECK(engine.idle());
    CHECK(engine.free_pages() == engine.n_pages());
    preemptions += engine.stats().preemptions;
  }
  CHECK(preemptions > 20);
}

TEST_CASE("a seeded request draws the same tokens alone, among others and after preemption") {
  std::mt19937 random(5);
  const std::vector<int32_t> prompt = random_prompt(random, 9);
  const auto run = [&](int neighbours, int64_t state_tokens) {
    RunnerOptions options = small_runner();
    options.state_tokens = state_tokens;
    FakeModel model(options);
    Engine engine(model.runner());
    for (int i = 0; i < neighbours; ++i) engine.submit(greedy(random_prompt(random, 20), 30));
    Request request;
    request.prompt = prompt;
    request.max_tokens = 40;
    request.sampling.seed = 77;
    request.sampling.frequency_penalty = 0.5F;
    request.sampling.top_p = 0.9F;
    const RequestId id = engine.submit(std::move(request));
    for (int i = 0; i < neighbours; ++i) engine.submit(greedy(random_prompt(random, 5), 30));
    engine.run_all();
    const auto result = engine.take_result(id);
    REQUIRE(result.has_value());
    CHECK(result->seed == 77);
    return std::pair(result->tokens, result->usage.preemptions);
  };
  const auto alone = run(0, 0);
  CHECK(alone.first.size() == 40);
  CHECK(run(3, 0).first == alone.first);
  const auto squeezed = run(6, 64);
  CHECK(squeezed.first == alone.first);
  CHECK(squeezed.second > 0);
}

TEST_CASE("prompt logits: every position once, in order, whatever the chunks and preemptions") {
  std::mt19937 random(6);
  const std::vector<int32_t> prompt = random_prompt(random, 33);
  for (const int64_t state_tokens : {0, 64}) {
    RunnerOptions options = small_runner();
    options.state_tokens = state_tokens;
    FakeModel model(options);
    Engine engine(model.runner());
    for (int i = 0; i < 3; ++i) {
      Request neighbour = greedy(random_prompt(random, 10), 40);
      neighbour.priority = 1;
      engine.submit(std::move(neighbour));
    }
    int64_t next = 0;
    Request request = greedy(prompt, 2);
    request.on_prompt_logits = [&](const PromptLogits& chunk) {
      CHECK(chunk.first_position == next);
      for (int64_t row = 0; row < chunk.n_rows; ++row, ++next) {
        const auto length = static_cast<std::ptrdiff_t>(next) + 1;
        const std::vector<float> expected =
            test::fake_logits({prompt.begin(), prompt.begin() + length}, static_cast<int64_t>(prompt.size()));
        const auto got = chunk.rows.subspan(static_cast<size_t>(row * test::kFakeVocab), test::kFakeVocab);
        REQUIRE(std::equal(expected.begin(), expected.end(), got.begin(), got.end()));
      }
    };
    const RequestId id = engine.submit(std::move(request));
    engine.run_all();
    CHECK(next == 33);
    CHECK(engine.take_result(id)->tokens == test::fake_greedy(prompt, 2));
  }
}

TEST_CASE("max_tokens 0 runs the prompt only") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  int64_t rows = 0;
  Request request = greedy({1, 2, 3}, 0);
  request.on_prompt_logits = [&](const PromptLogits& chunk) { rows += chunk.n_rows; };
  const RequestId id = engine.submit(std::move(request));
  engine.run_all();
  CHECK(rows == 3);
  const auto result = engine.take_result(id);
  CHECK(result->reason == FinishReason::kLength);
  CHECK(result->tokens.empty());
}

TEST_CASE("a stop token ends the output and is not part of it") {
  const std::vector<int32_t> prompt = {5, 6, 7};
  const std::vector<int32_t> full = test::fake_greedy(prompt, 20);
  FakeModel model(small_runner());
  Engine engine(model.runner());
  Request request = greedy(prompt, 20);
  request.stop_tokens = {full[7]};
  const RequestId id = engine.submit(std::move(request));
  engine.run_all();
  const auto result = engine.take_result(id);
  const auto first = std::find(full.begin(), full.end(), full[7]);
  CHECK(result->reason == FinishReason::kStop);
  CHECK(result->stop_token == full[7]);
  CHECK(result->tokens == std::vector<int32_t>(full.begin(), first));
}

TEST_CASE("a stop string ends the output; the text before it is streamed piece by piece") {
  const std::vector<int32_t> prompt = {5, 6, 7};
  const std::string full = text_of(test::fake_greedy(prompt, 30));
  const std::string stop = full.substr(10, 3);
  FakeModel model(small_runner());
  Engine engine(model.runner());
  std::string streamed;
  Request request = greedy(prompt, 30);
  request.decoder = std::make_unique<TestDecoder>();
  request.stop_strings = {"never", stop};
  request.on_token = [&](const TokenEvent& event) {
    streamed += event.text;
    return true;
  };
  const RequestId id = engine.submit(std::move(request));
  engine.run_all();
  const auto result = engine.take_result(id);
  CHECK(result->reason == FinishReason::kStop);
  CHECK(result->stop_string == stop);
  CHECK(result->text == full.substr(0, full.find(stop)));
  CHECK(streamed == result->text);
}

TEST_CASE("text that was held back is shown at the end, by a stop token too") {
  const std::vector<int32_t> prompt = {9, 6, 7};
  const std::vector<int32_t> full = test::fake_greedy(prompt, 40);
  for (size_t n = 1; n < 20; ++n) {
    FakeModel model(small_runner());
    Engine engine(model.runner());
    std::string streamed;
    Request request = greedy(prompt, 40);
    request.decoder = std::make_unique<TestDecoder>();
    request.stop_tokens = {full[n]};
    request.on_token = [&](const TokenEvent& event) {
      streamed += event.text;
      return true;
    };
    const RequestId id = engine.submit(std::move(request));
    engine.run_all();
    const auto result = engine.take_result(id);
    CHECK(result->text == text_of(result->tokens));
    CHECK(streamed == result->text);
  }
}

TEST_CASE("requests that can never run are refused with the numbers") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  CHECK(refusal(engine, greedy({}, 1)) == "prompt: it is empty; give at least one token");
  CHECK(refusal(engine, greedy(std::vector<int32_t>(65, 1), 0)) ==
        "the prompt has 65 tokens, the context holds 64; shorten it or raise the context length");
  CHECK(refusal(engine, greedy(std::vector<int32_t>(60, 1), 5)) ==
        "the prompt of 60 tokens and max_tokens 5 need 65 positions, the context holds 64; shorten one of "
        "them or raise "
        "the context length");
  CHECK(refusal(engine, greedy({97}, 1)) == "prompt: token 97 is outside the vocabulary of 97");
  CHECK(refusal(engine, greedy({-1}, 1)) == "prompt: token -1 is outside the vocabulary of 97");
  CHECK(refusal(engine, greedy({1}, -2)).starts_with("max_tokens: got -2"));
  Request request = greedy({1}, 1);
  request.stop_strings = {"x"};
  CHECK(refusal(engine, std::move(request)).starts_with("stop: "));
  CHECK(engine.idle());
  CHECK(refusal(engine, greedy(std::vector<int32_t>(60, 1), 4)) == "accepted");
  CHECK(refusal(engine, greedy(std::vector<int32_t>(64, 1), Request::kToEndOfContext)) == "accepted");
  engine.run_all();
}

TEST_CASE("too many waiting requests are refused") {
  FakeModel model(small_runner());
  EngineOptions options;
  options.max_waiting = 2;
  Engine engine(model.runner(), options);
  engine.submit(greedy({1}, 1));
  engine.submit(greedy({1}, 1));
  CHECK(refusal(engine, greedy({1}, 1)) == "2 requests are waiting already; try again later");
}

TEST_CASE("without max_tokens a request runs to the end of the context") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  const RequestId id = engine.submit(greedy({1, 2, 3, 4}, Request::kToEndOfContext));
  engine.run_all();
  CHECK(engine.take_result(id)->tokens == test::fake_greedy({1, 2, 3, 4}, 60));
}

TEST_CASE("cancelling: waiting, running and from inside a callback") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  const RequestId waiting = engine.submit(greedy({1}, 10));
  CHECK(engine.cancel(waiting));
  CHECK_FALSE(engine.cancel(waiting));
  CHECK(engine.take_result(waiting)->reason == FinishReason::kCancelled);

  const RequestId running = engine.submit(greedy({1, 2}, 10));
  engine.run_step();
  engine.run_step();
  CHECK(engine.cancel(running));
  const auto partial = engine.take_result(running);
  CHECK(partial->reason == FinishReason::kCancelled);
  CHECK(partial->tokens == test::fake_greedy({1, 2}, 2));

  const RequestId victim = engine.submit(greedy({3}, 50));
  Request request = greedy({4}, 3);
  request.on_token = [&](const TokenEvent& event) {
    if (event.n_output == 2) engine.cancel(victim);
    return true;
  };
  const RequestId killer = engine.submit(std::move(request));
  engine.run_all();
  CHECK(engine.take_result(victim)->reason == FinishReason::kCancelled);
  CHECK(engine.take_result(killer)->reason == FinishReason::kLength);
  CHECK(engine.idle());
  CHECK(engine.free_pages() == engine.n_pages());
}

TEST_CASE("a callback may end its request, submit another one, or throw") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  RequestId second = 0;
  Request request = greedy({1}, 10);
  request.on_token = [](const TokenEvent& event) { return event.n_output < 3; };
  Result first;
  request.on_finish = [&](Result&& result) {
    first = std::move(result);
    second = engine.submit(greedy({2}, 2));
  };
  engine.submit(std::move(request));
  Request throwing = greedy({3}, 10);
  throwing.on_token = [](const TokenEvent&) -> bool { throw_invalid("the client is gone"); };
  const RequestId third = engine.submit(std::move(throwing));
  engine.run_all();
  CHECK(first.reason == FinishReason::kStop);
  CHECK(first.tokens.size() == 3);
  CHECK(engine.take_result(second)->tokens == test::fake_greedy({2}, 2));
  const auto failed = engine.take_result(third);
  CHECK(failed->reason == FinishReason::kError);
  CHECK(failed->error == "the client is gone");
}

TEST_CASE("the end of a request may cancel others, and may not run a step") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  const RequestId victim = engine.submit(greedy({1}, 50));
  Request request = greedy({2}, 3);
  std::string refusal;
  request.on_finish = [&](Result&&) {
    CHECK(engine.cancel(victim));
    try {
      engine.run_step();  // would change the lists that the step is walking through
    } catch (const Error& error) {
      refusal = error.what();
    }
  };
  engine.submit(std::move(request));
  engine.run_all();
  CHECK(refusal == "engine: run_step was called from a callback");
  CHECK(engine.take_result(victim)->reason == FinishReason::kCancelled);
  CHECK(engine.idle());
  CHECK(engine.free_pages() == engine.n_pages());
}

TEST_CASE("a request hears once that it has its turn, before its first token") {
  RunnerOptions options = small_runner();
  options.state_tokens = 64;
  FakeModel model(options);
  Engine engine(model.runner());
  std::map<RequestId, int> starts;
  std::vector<RequestId> ids;
  for (int i = 0; i < 6; ++i) {
    Request request = greedy({i, 1, 2}, 30);
    request.on_start = [&](RequestId id) { ++starts[id]; };
    request.on_token = [&](const TokenEvent& event) { return starts[event.request] == 1; };
    ids.push_back(engine.submit(std::move(request)));
  }
  CHECK(starts.empty());
  engine.run_step();
  CHECK(starts == std::map<RequestId, int>{{ids[0], 1}, {ids[1], 1}, {ids[2], 1}, {ids[3], 1}});
  engine.run_all();
  CHECK(engine.stats().preemptions > 0);
  for (const RequestId id : ids) {
    CHECK(starts[id] == 1);
    CHECK(engine.take_result(id)->reason == FinishReason::kLength);
  }
}

TEST_CASE("at the start of its turn a request may be cancelled, and may fail") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  Request cancelled = greedy({1}, 10);
  cancelled.on_start = [&](RequestId id) { CHECK(engine.cancel(id)); };
  const RequestId first = engine.submit(std::move(cancelled));
  Request failing = greedy({2}, 10);
  failing.on_start = [](RequestId) { throw_invalid("the client is gone"); };
  const RequestId second = engine.submit(std::move(failing));
  engine.run_step();
  CHECK(engine.idle());
  CHECK(engine.take_result(first)->reason == FinishReason::kCancelled);
  CHECK(engine.take_result(second)->error == "the client is gone");
  CHECK(engine.free_pages() == engine.n_pages());
}

TEST_CASE("10000 requests wait: submitting, cancelling and stepping stay quick, and waiting takes no room") {
  using Clock = std::chrono::steady_clock;
  RunnerOptions options = small_runner();
  options.max_context = options.state_tokens = 1 << 17;
  FakeModel model(options);
  EngineOptions engine_options;
  engine_options.prefix_cache.pages = PrefixCacheOptions::kAllPages;
  Engine engine(model.runner(), engine_options);
  const auto begin = Clock::now();
  std::vector<RequestId> ids;
  for (int i = 0; i < 10'000; ++i) {
    Request request = greedy({i % 90, 1, 2}, Request::kToEndOfContext);
    request.sampling.repetition_penalty = 1.1F;  // its counts would be megabytes for each
    ids.push_back(engine.submit(std::move(request)));
  }
  const auto submitted = Clock::now();
  for (int i = 0; i < 100; ++i) engine.run_step();
  const auto stepped = Clock::now();
  for (size_t i = 0; i < ids.size(); i += 2) CHECK(engine.cancel(ids[i]));
  for (size_t i = ids.size(); i-- > 0;)
    if (i % 2 == 1) CHECK(engine.cancel(ids[i]));
  const auto cancelled = Clock::now();
  CHECK(engine.idle());
  const auto microseconds = [](auto duration, double n) {
    return std::chrono::duration<double, std::micro>(duration).count() / n;
  };
  const double submit = microseconds(submitted - begin, 10'000);
  const double step = microseconds(stepped - submitted, 100);
  const double cancel = microseconds(cancelled - stepped, 10'000);
  MESSAGE("us a submit: " << submit << ", step: " << step << ", cancel: " << cancel);
  // A hundred times what a quiet machine takes.
  CHECK(submit < 1000);
  CHECK(step < 20'000);
  CHECK(cancel < 5000);
}

TEST_CASE("a NaN ends its own request, with the position; the others go on") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  const RequestId bad = engine.submit(greedy({1, 2, test::kPoisonToken}, 5));
  const RequestId good = engine.submit(greedy({1, 2, 3}, 5));
  engine.run_all();
  const auto failed = engine.take_result(bad);
  CHECK(failed->reason == FinishReason::kError);
  CHECK(failed->error.starts_with("the logits after position 2 hold nan for token 96"));
  CHECK(engine.take_result(good)->tokens == test::fake_greedy({1, 2, 3}, 5));
}

TEST_CASE("what the backend reports ends the requests of that step, and the engine goes on") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  const RequestId bad = engine.submit(greedy({1, test::kFailToken}, 5));
  engine.run_all();
  const auto failed = engine.take_result(bad);
  CHECK(failed->reason == FinishReason::kError);
  CHECK(failed->error == "plugin fake: running a step: the device is gone");
  const RequestId good = engine.submit(greedy({1}, 5));
  engine.run_all();
  CHECK(engine.take_result(good)->tokens == test::fake_greedy({1}, 5));
  CHECK(engine.free_pages() == engine.n_pages());
}

TEST_CASE("a session computes only what is new, with the same tokens") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  Session session(engine);
  std::vector<int32_t> talk = {1, 2, 3, 4, 5};
  int64_t reused = 0;
  for (int turn = 0; turn < 4; ++turn) {
    const RequestId id = session.submit(greedy(talk, 6));
    engine.run_until(id);
    const auto result = engine.take_result(id);
    CHECK(result->tokens == test::fake_greedy(talk, 6));
    // The last token of an output was never fed to the model, so it is computed with the next turn.
    CHECK(result->usage.reused_tokens == reused);
    talk.insert(talk.end(), result->tokens.begin(), result->tokens.end());
    reused = static_cast<int64_t>(talk.size()) - 1;
    talk.push_back(40 + turn);
  }
  session.clear();
  CHECK(engine.free_pages() == engine.n_pages());
}

TEST_CASE(
    "a session that goes another way reuses the common beginning; the same prompt runs its last token") {
  FakeModel model(small_runner());
  Engine engine(model.runner());
  Session session(engine);
  engine.run_until(session.submit(greedy({1, 2, 3, 4, 5, 6, 7}, 5)));
  const RequestId other = session.submit(greedy({1, 2, 3, 50, 51}, 5));
  engine.run_until(other);
  const auto result = engine.take_result(other);
  CHECK(result->usage.reused_tokens == 3);
  CHECK(result->tokens == test::fake_greedy({1, 2, 3, 50, 51}, 5));
  const RequestId same = session.submit(greedy({1, 2, 3, 50, 51}, 5));
  engine.run_until(same);
  const auto again = engine.take_result(same);
  CHECK(again->usage.reused_tokens == 4);
  CHECK(again->tokens == result->tokens);
}

TEST_CASE("kept states give way to running sequences and are not missed") {
  RunnerOptions options = small_runner();
  options.state_tokens = 64;
  FakeModel model(options);
  Engine engine(model.runner());
  Session a(engine);
  Session b(engine);
  engine.run_until(a.submit(greedy({1, 2, 3}, 30)));
  engine.run_until(b.submit(greedy({4, 5, 6}, 30)));
  std::mt19937 random(2);
  const std::vector<int32_t> prompt = random_prompt(random, 30);
  const RequestId large = engine.submit(greedy(prompt, 30));
  engine.run_all();
  CHECK(engine.take_result(large)->tokens == test::fake_greedy(prompt, 30));
  const RequestId again = a.submit(greedy({1, 2, 3}, 30));
  engine.run_all();
  const auto result = engine.take_result(again);
  CHECK(result->tokens == test::fake_greedy({1, 2, 3}, 30));
  CHECK(result->usage.reused_tokens == 0);
}

TEST_CASE("with length-dependent positions a state is not reused beyond that length") {
  FakeOptions fake;
  fake.scaling_from = 12;
  FakeModel model(small_runner(), fake);
  CHECK(model.runner().length_dependent_from() == 12);
  Engine engine(model.runner());
  Session session(engine);
  engine.run_until(session.submit(greedy({1, 2, 3, 4}, 4)));
  std::vector<int32_t> talk = {1, 2, 3, 4};
  const RequestId near = session.submit(greedy({1, 2, 3, 4, 5, 6}, 4));
  engine.run_until(near);
  CHECK(engine.take_result(near)->usage.reused_tokens == 4);
  talk.insert(talk.end(), 12, 7);
  const RequestId far = session.submit(greedy(talk, 4));
  engine.run_until(far);
  const auto result = engine.take_result(far);
  CHECK(result->usage.reused_tokens == 0);
  CHECK(result->tokens == test::fake_greedy(talk, 4, 12));
}

TEST_CASE("runner options that cannot work are refused by name") {
  const auto refused = [](auto&& change) -> std::string {
    RunnerOptions options = small_runner();
    change(options);
    try {
      FakeModel model(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK(refused([](RunnerOptions& o) { o.max_tokens = 3; }) ==
        "max_tokens: got 3, expected at least max_sequences, 4");
  CHECK(refused([](RunnerOptions& o) { o.max_context = 0; }) == "max_context: got 0, expected at least 1");
  CHECK(refused([](RunnerOptions& o) { o.state_tokens = 63; }) ==
        "state_tokens: got 63, expected at least max_context, 64");
  CHECK(refused([](RunnerOptions& o) { o.kv_dtype = LLMH_DTYPE_Q4_0; }) ==
        "kv_dtype: got q4_0, expected f32, f16, bf16 or q8_0");
  CHECK(refused([](RunnerOptions&) {}) == "accepted");
}
