// An engine on its thread: cancellation in every phase, many waiting, turns on one device.
#include "serve/models/engine_thread.h"

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "core/error.h"
#include "engine/fake_backend.h"
#include "engine/small_engine.h"
#include "serve/models/step_pace.h"

namespace llmhost::serve {
namespace {

using namespace std::chrono_literals;
using engine::FinishReason;
using engine::Request;
using engine::Result;
using test::FakeModel;

using Clock = std::chrono::steady_clock;

struct Running {
  explicit Running(int64_t max_waiting = 10'000,
                   std::shared_ptr<DeviceTurn> turn = std::make_shared<DeviceTurn>())
      : model(test::small_runner(8, 4)),
        thread(model.runner(), options(max_waiting), nullptr, std::move(turn)) {}

  static EngineThreadOptions options(int64_t max_waiting) {
    EngineThreadOptions options;
    options.engine.max_waiting = max_waiting;
    return options;
  }

  FakeModel model;
  EngineThread thread;
};

// A request whose result can be waited for.
struct Asked {
  Request request;
  std::future<Result> result;
};

Asked ask(std::vector<int32_t> prompt, int64_t max_tokens) {
  Asked asked{test::request_of(std::move(prompt), max_tokens), {}};
  auto promise = std::make_shared<std::promise<Result>>();
  asked.result = promise->get_future();
  asked.request.on_finish = [promise](Result&& result) { promise->set_value(std::move(result)); };
  return asked;
}

// Takes places of the engine for as long as it lives, with steps that take a while.
Asked ask_slowly(int64_t max_tokens) {
  Asked slow = ask({1, 2, 3}, max_tokens);
  slow.request.on_token = [](const engine::TokenEvent&) {
    std::this_thread::sleep_for(10ms);
    return true;
  };
  return slow;
}

FinishReason cancelled_within(EngineThread& thread, uint64_t ticket, std::future<Result>& result,
                              std::chrono::milliseconds limit) {
  const Clock::time_point start = Clock::now();
  thread.cancel(ticket);
  REQUIRE(result.wait_for(5s) == std::future_status::ready);
  CHECK(Clock::now() - start < limit);
  return result.get().reason;
}

}  // namespace

TEST_CASE("requests are answered as the engine answers them") {
  Running running;
  std::vector<Asked> all;
  for (int32_t i = 0; i < 20; ++i) all.push_back(ask({i, i + 1, i + 2}, 9));
  for (Asked& asked : all) running.thread.submit(std::move(asked.request));
  for (int32_t i = 0; i < 20; ++i) {
    const Result result = all[static_cast<size_t>(i)].result.get();
    CHECK(result.reason == FinishReason::kLength);
    CHECK(result.tokens == test::fake_greedy({i, i + 1, i + 2}, 9));
  }
}

TEST_CASE("a request that can never run is refused at once") {
  Running running;
  CHECK_THROWS_AS(running.thread.submit(ask({}, 4).request), Error);
  CHECK_THROWS_AS(running.thread.submit(ask(std::vector<int32_t>(65, 1), 4).request), Error);
  CHECK_THROWS_AS(running.thread.submit(ask({test::kFakeVocab}, 4).request), Error);
}

TEST_CASE("a cancelled request ends soon, in the queue, in its prompt and in its answer") {
  Running running;
  SUBCASE("in the queue") {
    std::vector<Asked> slow;
    for (int i = 0; i < 4; ++i) {
      slow.push_back(ask_slowly(60));
      running.thread.submit(std::move(slow.back().request));
    }
    Asked waiting = ask({5, 6}, 8);
    const uint64_t ticket = running.thread.submit(std::move(waiting.request));
    std::this_thread::sleep_for(30ms);
    CHECK(cancelled_within(running.thread, ticket, waiting.result, 200ms) == FinishReason::kCancelled);
  }
  SUBCASE("in its prompt") {
    Asked asked = ask(std::vector<int32_t>(60, 7), 2);
    std::atomic<int> n_chunks{0};
    asked.request.on_prompt_logits = [&n_chunks](const engine::PromptLogits&) {
      ++n_chunks;
      std::this_thread::sleep_for(20ms);
    };
    const uint64_t ticket = running.thread.submit(std::move(asked.request));
    while (n_chunks == 0) std::this_thread::sleep_for(1ms);
    CHECK(cancelled_within(running.thread, ticket, asked.result, 200ms) == FinishReason::kCancelled);
    CHECK(n_chunks < 15);
  }
  SUBCASE("in its answer") {
    Asked asked = ask_slowly(60);
    const uint64_t ticket = running.thread.submit(std::move(asked.request));
    std::this_thread::sleep_for(60ms);
    CHECK(cancelled_within(running.thread, ticket, asked.result, 200ms) == FinishReason::kCancelled);
  }
  const EngineLoad load = running.thread.load();
  CHECK(load.waiting == 0);
}

TEST_CASE("a thousand wait, half of them are cancelled, all end; one more than may wait is refused") {
  Running running(1000);
  Asked slow = ask_slowly(40);
  running.thread.submit(std::move(slow.request));
  std::this_thread::sleep_for(20ms);
  std::vector<Asked> all;
  std::vector<uint64_t> tickets;
  for (int32_t i = 0; i < 996; ++i) {
    all.push_back(ask({i % 90, 3}, 2));
    tickets.push_back(running.thread.submit(std::move(all.back().request)));
  }
  std::vector<Asked> further;
  CHECK_THROWS_AS(
      [&] {
        for (int i = 0; i < 20; ++i) {
          further.push_back(ask({1}, 1));
          running.thread.submit(std::move(further.back().request));
        }
      }(),
      Error);
  for (size_t i = 0; i < tickets.size(); i += 2) running.thread.cancel(tickets[i]);
  size_t n_cancelled = 0;
  for (Asked& asked : all) {
    REQUIRE(asked.result.wait_for(20s) == std::future_status::ready);
    n_cancelled += asked.result.get().reason == FinishReason::kCancelled ? 1 : 0;
  }
  CHECK(n_cancelled == tickets.size() / 2);
}

TEST_CASE("what fails ends its own request, and the thread goes on") {
  Running running;
  Asked bad = ask({1, test::kFailToken}, 4);
  running.thread.submit(std::move(bad.request));
  CHECK(bad.result.get().reason == FinishReason::kError);
  Asked throws = ask({1, 2}, 4);
  throws.request.on_token = [](const engine::TokenEvent&) -> bool { throw std::runtime_error("no"); };
  running.thread.submit(std::move(throws.request));
  CHECK(throws.result.get().reason == FinishReason::kError);
  Asked good = ask({1, 2}, 4);
  running.thread.submit(std::move(good.request));
  CHECK(good.result.get().tokens == test::fake_greedy({1, 2}, 4));
}

TEST_CASE("stopping cancels everything and refuses more") {
  Running running;
  Asked slow = ask_slowly(60);
  running.thread.submit(std::move(slow.request));
  running.thread.stop();
  CHECK(slow.result.get().reason == FinishReason::kCancelled);
  CHECK_THROWS_AS(running.thread.submit(ask({1}, 1).request), Error);
}

TEST_CASE("engines on one device take turns") {
  const auto turn = std::make_shared<DeviceTurn>();
  Running one(100, turn);
  Running two(100, turn);
  std::atomic<int> inside{0};
  std::atomic<bool> together{false};
  std::vector<Asked> all;
  for (Running* running : {&one, &two}) {
    for (int i = 0; i < 3; ++i) {
      all.push_back(ask({i, 4}, 20));
      all.back().request.on_token = [&](const engine::TokenEvent&) {
        if (++inside > 1) together = true;
        std::this_thread::sleep_for(1ms);
        --inside;
        return true;
      };
      running->thread.submit(std::move(all.back().request));
    }
  }
  for (Asked& asked : all) CHECK(asked.result.get().reason == FinishReason::kLength);
  CHECK_FALSE(together);
}

TEST_CASE("a turn goes to who came first, and who leaves is skipped") {
  DeviceTurn turn;
  const DeviceTurn::Ticket a = turn.join();
  const DeviceTurn::Ticket b = turn.join();
  const DeviceTurn::Ticket c = turn.join();
  CHECK(turn.wait(a, 0ms));
  CHECK_FALSE(turn.wait(b, 1ms));
  turn.leave(b);
  CHECK_FALSE(turn.wait(c, 1ms));
  turn.leave(a);
  CHECK(turn.wait(c, 0ms));
}

TEST_CASE("the pace of steps") {
  StepPace pace(0.08, 512);
  CHECK(pace.limit() == 64);
  pace.observe(64, 0.01);  // room for 512, but at most twice as many at a time
  CHECK(pace.limit() == 128);
  pace.observe(3, 0.05);  // few tokens say nothing
  CHECK(pace.limit() == 128);
  pace.observe(128, 0.02);
  pace.observe(256, 0.04);
  CHECK(pace.limit() == 512);
  pace.observe(512, 0.16);  // twice too long
  CHECK(pace.limit() == 256);
  pace.observe(256, 10);
  CHECK(pace.limit() == 64);
  for (int i = 0; i < 20; ++i) pace.observe(pace.limit(), 10);
  CHECK(pace.limit() == 1);
}

}  // namespace llmhost::serve
