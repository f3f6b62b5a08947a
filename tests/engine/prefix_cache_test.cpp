// The prefix cache by itself, and in an engine on the fake model, whose logits depend on every position of
// the state: whatever is taken over, tokens are those of a cold run.
#include "engine/prefix_cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "core/error.h"
#include "engine/draft_model.h"
#include "engine/fake_backend.h"
#include "engine/session.h"
#include "engine/small_engine.h"

using namespace llmhost;
using namespace llmhost::engine;
using llmhost::test::FakeModel;
using llmhost::test::FakeOptions;
using llmhost::test::random_prompt;
using llmhost::test::request_of;

namespace {

constexpr int32_t kPageTokens = 4;

PrefixCacheOptions all_pages(double tenant_share = 1) {
  return {PrefixCacheOptions::kAllPages, tenant_share};
}

EngineOptions caching(double tenant_share = 1) {
  EngineOptions options;
  options.prefix_cache = all_pages(tenant_share);
  return options;
}

Request scoped(std::vector<int32_t> prompt, int64_t max_tokens, const CacheScope& scope) {
  Request request = request_of(std::move(prompt), max_tokens);
  request.cache_scope = scope;
  return request;
}

Result run(Engine& engine, Request request) {
  const RequestId id = engine.submit(std::move(request));
  engine.run_until(id);
  return *engine.take_result(id);
}

// A sequence of the cache's own tests: text, pages and where it stands.
struct Text {
  std::vector<int32_t> tokens;
  PageTable pages;
  PrefixChain chain;
};

class CacheFixture {
 public:
  explicit CacheFixture(int32_t n_pages, const PrefixCacheOptions& options = all_pages())
      : allocator(n_pages), cache(allocator, kPageTokens, options) {}

  int32_t begin(Text& text, const CacheScope& scope = {}, int64_t length_class = 0) {
    cache.start(text.chain, scope, length_class);
    const int32_t hits = cache.attach(text.chain, text.tokens, size(text), text.pages);
    while (!text.pages.grow_to(pages_for(size(text), kPageTokens), allocator)) REQUIRE(cache.evict_one());
    return hits;
  }
  void end(Text& text) {
    cache.publish(text.chain, text.tokens, size(text), text.pages);
    text.pages.shrink_to(0, allocator);
  }
  int32_t pass(std::vector<int32_t> tokens, const CacheScope& scope = {}, int64_t length_class = 0) {
    Text text{std::move(tokens), {}, {}};
    const int32_t hits = begin(text, scope, length_class);
    end(text);
    return hits;
  }
  static int64_t size(const Text& text) { return static_cast<int64_t>(text.tokens.size()); }

  PageAllocator allocator;
  PrefixCache cache;
};

}  // namespace

TEST_CASE("the hash is SipHash-2-4-128") {
  // What OpenSSL's SIPHASH gives for the key 00 01 .. 0f, read as two little-endian words.
  const Hash128 key{0x0f0e0d0c0b0a0908U, 0x0706050403020100U};
  std::vector<std::byte> bytes;
  CHECK(siphash128(key, bytes) == Hash128{0x930255c71472f66dU, 0xe6a825ba047f81a3U});
  bytes.push_back(std::byte{0});
  CHECK(siphash128(key, bytes) == Hash128{0x45fc229b11597634U, 0x44af996bd8c187daU});
  for (int i = 1; i < 63; ++i) bytes.push_back(static_cast<std::byte>(i));
  CHECK(siphash128(key, bytes) == Hash128{0x7cbd3f979a063e50U, 0x4a83502f77d15051U});
}

TEST_CASE("full pages are found by all tokens up to their end, in their own scope only") {
  CacheFixture fixture(32);
  const std::vector<int32_t> text = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  CHECK(fixture.pass(text) == 0);
  CHECK(fixture.cache.n_pages() == 2);
  CHECK(fixture.allocator.n_unused() == 32);
  CHECK(fixture.allocator.n_free() == 30);
  CHECK(fixture.pass(text) == 2);
  CHECK(fixture.pass({1, 2, 3, 4, 5, 6, 7, 9}) == 1);
  CHECK(fixture.pass({1, 2, 3}) == 0);
  CHECK(fixture.pass({5, 6, 7, 8}) == 0);  // a page known behind another one
  for (const CacheScope& other : {CacheScope{1, 0, 0}, CacheScope{0, 1, 0}, CacheScope{0, 0, 1}})
    CHECK(fixture.pass(text, other) == 0);
  CHECK(fixture.pass(text, {}, 10) == 0);
  CHECK(fixture.pass(text, {0, 0, 0, false}) == 0);
  CHECK(fixture.pass(text, {1, 0, 0}) == 2);
}

TEST_CASE("two that compute the same at a time end up with one copy") {
  CacheFixture fixture(8);
  Text a{{1, 2, 3, 4, 5, 6, 7, 8, 9}, {}, {}};
  Text b = a;
  CHECK(fixture.begin(a) == 0);
  CHECK(fixture.begin(b) == 0);
  CHECK(fixture.allocator.n_unused() == 2);
  fixture.cache.publish(a.chain, a.tokens, 8, a.pages);
  fixture.cache.publish(b.chain, b.tokens, 8, b.pages);
  CHECK(fixture.allocator.n_unused() == 4);
  CHECK(a.pages[0] == b.pages[0]);
  CHECK(a.pages[1] == b.pages[1]);
  CHECK(a.pages[2] != b.pages[2]);
  CHECK_FALSE(fixture.cache.evict_one());  // all are used
  a.pages.shrink_to(0, fixture.allocator);
  CHECK_FALSE(fixture.cache.evict_one());
  b.pages.shrink_to(0, fixture.allocator);
  CHECK(fixture.allocator.n_unused() == 8);
}

TEST_CASE("the longest unused page goes first, and never before those that follow it") {
  CacheFixture fixture(8);
  const std::vector<int32_t> old_text = {1, 1, 1, 1, 2, 2, 2, 2};
  const std::vector<int32_t> new_text = {3, 3, 3, 3, 4, 4, 4, 4};
  fixture.pass(old_text);
  fixture.pass(new_text);
  CHECK(fixture.cache.evict_one());
  CHECK(fixture.pass(old_text) == 1);  // used now, so the other one is older
  CHECK(fixture.cache.evict_one());
  CHECK(fixture.pass(new_text) == 1);
  while (fixture.cache.evict_one()) {
  }
  CHECK(fixture.cache.n_pages() == 0);
  CHECK(fixture.allocator.n_free() == 8);
  CHECK(fixture.cache.n_evicted() == 6);
}

TEST_CASE("the cache takes no more than its pages, and a tenant no more than its share") {
  CacheFixture fixture(40, {10, 0.5});
  std::mt19937 random(3);
  const CacheScope quiet{0, 0, 1};
  const std::vector<int32_t> kept_text = random_prompt(random, 20);
  fixture.pass(kept_text, quiet);
  CHECK(fixture.cache.n_pages() == 5);
  for (int i = 0; i < 50; ++i) fixture.pass(random_prompt(random, 24), {0, 0, 2});
  CHECK(fixture.cache.n_pages() == 10);
  CHECK(fixture.pass(kept_text, quiet) == 5);
  // The beginning of a text that is longer than the share stays.
  const std::vector<int32_t> long_text = random_prompt(random, 32);
  fixture.pass(long_text, {0, 0, 2});
  CHECK(fixture.pass(long_text, {0, 0, 2}) == 5);
  CHECK(fixture.pass(kept_text, quiet) == 5);
}

TEST_CASE("when pages are needed, who has most of them gives first") {
  CacheFixture fixture(20);
  std::mt19937 random(4);
  const std::vector<int32_t> small = random_prompt(random, 8);
  fixture.pass(small, {0, 0, 1});
  for (int i = 0; i < 20; ++i) fixture.pass(random_prompt(random, 40), {0, 0, 2});
  CHECK(fixture.pass(small, {0, 0, 1}) == 2);
}

TEST_CASE("random texts: what is found is what was put in, and no page is lost") {
  std::mt19937 random(9);
  int64_t hits = 0;
  for (int round = 0; round < 20; ++round) {
    const auto n_pages = static_cast<int32_t>(12 + random() % 40);
    CacheFixture fixture(
        n_pages, {static_cast<int32_t>(1 + random() % 40), 0.1 + 0.3 * static_cast<double>(random() % 4)});
    std::vector<std::unique_ptr<Text>> running;
    for (int i = 0; i < 400; ++i) {
      if (running.size() < 4 && random() % 2 == 0) {
        auto text = std::make_unique<Text>();
        for (auto n = 1 + random() % 11; n > 0; --n)
          text->tokens.push_back(static_cast<int32_t>(random() % 3 == 0));
        hits += fixture.begin(*text, {0, 0, random() % 3});
        running.push_back(std::move(text));
      } else if (!running.empty()) {
        const auto chosen = running.begin() + static_cast<std::ptrdiff_t>(random() % running.size());
        fixture.end(**chosen);
        running.erase(chosen);
      }
    }
    for (const auto& text : running) fixture.end(*text);
    CHECK(fixture.allocator.n_unused() == n_pages);
    while (fixture.cache.evict_one()) {
    }
    CHECK(fixture.allocator.n_free() == n_pages);
    CHECK(fixture.cache.n_pages() == 0);
  }
  CHECK(hits > 500);
}

TEST_CASE("options that mean nothing are refused") {
  PageAllocator allocator(4);
  CHECK_THROWS_AS(PrefixCache(allocator, 4, {-2, 0.5}), Error);
  CHECK_THROWS_AS(PrefixCache(allocator, 4, {4, 0.0}), Error);
  CHECK_THROWS_AS(PrefixCache(allocator, 4, {4, 1.5}), Error);
}

TEST_CASE("requests that begin alike compute their beginning once, with the tokens of a cold run") {
  FakeModel model(test::small_runner(16, 8));
  Engine engine(model.runner(), caching());
  std::mt19937 random(1);
  std::vector<int32_t> prompt = random_prompt(random, 22);
  CHECK(run(engine, request_of(prompt, 9)).usage.reused_tokens == 0);
  const Result again = run(engine, request_of(prompt, 9));
  CHECK(again.usage.reused_tokens == 20);
  CHECK(again.tokens == test::fake_greedy(prompt, 9));
  // The output is known as well: the next turn of a conversation.
  prompt.insert(prompt.end(), again.tokens.begin(), again.tokens.end());
  const Result turn = run(engine, request_of(prompt, 3));
  CHECK(turn.usage.reused_tokens == 28);
  CHECK(turn.tokens == test::fake_greedy(prompt, 3));
  CHECK(engine.stats().prefix_hits == 5 + 7);
  CHECK(engine.stats().prefix_misses == 5);
  CHECK(engine.unused_pages() == engine.n_pages());
  // A prompt of whole pages: its last token is computed.
  prompt.resize(20);
  const Result whole = run(engine, request_of(prompt, 2));
  CHECK(whole.usage.reused_tokens == 16);
  CHECK(whole.tokens == test::fake_greedy(prompt, 2));
}

TEST_CASE("requests of other scopes, and those that ask for no cache, find nothing") {
  FakeModel model(test::small_runner(16, 8));
  Engine engine(model.runner(), caching());
  std::mt19937 random(1);
  const std::vector<int32_t> prompt = random_prompt(random, 22);
  run(engine, scoped(prompt, 2, {7, 7, 1}));
  CHECK(run(engine, scoped(prompt, 2, {7, 8, 1})).usage.reused_tokens == 0);
  CHECK(run(engine, scoped(prompt, 2, {7, 7, 2})).usage.reused_tokens == 0);
  CHECK(run(engine, scoped(prompt, 2, {7, 7, 1, false})).usage.reused_tokens == 0);
  CHECK(run(engine, scoped(prompt, 2, {7, 7, 1})).usage.reused_tokens == 20);
}

TEST_CASE("a kept state is taken over in its own scope only") {
  FakeModel model(test::small_runner(16, 8));
  Engine engine(model.runner());
  Request first = scoped({1, 2, 3, 4, 5}, 2, {1, 1, 0});
  first.keep_state = true;
  const RequestId id = engine.submit(std::move(first));
  engine.run_all();
  Request second = scoped({1, 2, 3, 4, 5}, 2, {1, 2, 0});
  second.continue_from = id;
  CHECK(run(engine, std::move(second)).usage.reused_tokens == 0);
  CHECK(engine.free_pages() == engine.n_pages());
}

TEST_CASE("sessions and the cache together: shared pages are never written to") {
  FakeModel model(test::small_runner(16, 8));
  Engine engine(model.runner(), caching());
  Session session(engine);
  std::mt19937 random(8);
  const std::vector<int32_t> base = random_prompt(random, 30);
  for (int i = 0; i < 40; ++i) {
    std::vector<int32_t> prompt(base.begin(), base.begin() + static_cast<std::ptrdiff_t>(1 + random() % 30));
    prompt.push_back(static_cast<int32_t>(random() % 90));
    Request request = request_of(prompt, 5);
    const RequestId id =
        random() % 2 == 0 ? session.submit(std::move(request)) : engine.submit(std::move(request));
    engine.run_all();
    CHECK(engine.take_result(id)->tokens == test::fake_greedy(prompt, 5));
  }
  session.clear();
  CHECK(engine.unused_pages() == engine.n_pages());
}

TEST_CASE("with length-dependent positions prompts share state as far as it is the same") {
  std::mt19937 random(12);
  FakeOptions fake;
  fake.scaling_from = 24;
  FakeModel model(test::small_runner(16, 8), fake);
  Engine engine(model.runner(), caching());
  const std::vector<int32_t> base = random_prompt(random, 40);
  int64_t reused = 0;
  for (int i = 0; i < 200; ++i) {
    const auto n = static_cast<std::ptrdiff_t>(i % 2 == 0 ? 12 + random() % 12 : 30 + random() % 2);
    const std::vector<int32_t> prompt(base.begin(), base.begin() + n);
    const Result result = run(engine, request_of(prompt, 16));
    CHECK(result.tokens == test::fake_greedy(prompt, 16, fake.scaling_from));
    reused += result.usage.reused_tokens;
  }
  CHECK(reused > 2000);
}

namespace {

struct Squeeze {
  bool has_draft = false;
  int64_t reused = 0;
  int64_t preemptions = 0;
  int64_t evictions = 0;

  // Random prompts with common beginnings, priorities, scopes and cancellations on little memory.
  void round(std::mt19937& random) {
    RunnerOptions options = test::small_runner(0, 0);
    options.max_sequences = 1 + static_cast<int32_t>(random() % 6);
    options.max_outputs = options.max_sequences * (has_draft ? 4 : 1) + static_cast<int32_t>(random() % 5);
    options.max_tokens = options.max_outputs + static_cast<int32_t>(random() % 20);
    options.page_tokens = 1 + static_cast<int32_t>(random() % 6);
    options.state_tokens = 64 + static_cast<int64_t>(random() % 120);
    FakeModel model(options);
    RunnerOptions draft_options = options;
    draft_options.state_tokens = 0;
    FakeModel draft(draft_options);
    std::unique_ptr<Proposer> proposer;
    if (has_draft)
      proposer =
          std::make_unique<DraftProposer>(draft.runner(), test::kFakeVocab, SpeculationOptions{3, 2, 4});
    EngineOptions engine_options = caching(0.5);
    if (random() % 2 == 0) engine_options.prefix_cache.pages = static_cast<int32_t>(1 + random() % 20);
    Engine engine(model.runner(), engine_options, std::move(proposer));
    const std::vector<int32_t> base = random_prompt(random, 40);
    std::map<RequestId, std::vector<int32_t>> expected;
    for (int i = 0; i < 30; ++i) {
      std::vector<int32_t> prompt(base.begin(), base.begin() + static_cast<std::ptrdiff_t>(random() % 31));
      const std::vector<int32_t> own = random_prompt(random, 1 + random() % 4);
      prompt.insert(prompt.end(), own.begin(), own.end());
      const auto n = static_cast<int64_t>(random() % 28);
      Request request = scoped(prompt, n, {0, random() % 2, random() % 2});
      request.priority = static_cast<int32_t>(random() % 2);
      const RequestId id = engine.submit(std::move(request));
      if (random() % 8 != 0) expected[id] = test::fake_greedy(prompt, n);
      for (auto steps = random() % 5; steps > 0; --steps) engine.run_step();
      if (!expected.contains(id)) engine.cancel(id);
    }
    engine.run_all();
    for (const auto& [id, tokens] : expected) {
      const auto result = engine.take_result(id);
      REQUIRE(result.has_value());
      REQUIRE(result->error == "");
      REQUIRE(result->tokens == tokens);
      reused += result->usage.reused_tokens;
    }
    CHECK(engine.unused_pages() == engine.n_pages());
    preemptions += engine.stats().preemptions;
    evictions += engine.stats().prefix_evictions;
  }
};

}  // namespace

TEST_CASE("warm equals cold under random sharing, eviction and preemption") {
  std::mt19937 random(21);
  for (const bool has_draft : {false, true}) {
    Squeeze squeeze;
    squeeze.has_draft = has_draft;
    for (int i = 0; i < 60; ++i) squeeze.round(random);
    CHECK(squeeze.reused > 5000);
    CHECK(squeeze.preemptions > 50);
    CHECK(squeeze.evictions > 500);
  }
}

TEST_CASE("prompt logits come for every position, cached or not") {
  FakeModel model(test::small_runner(16, 8));
  Engine engine(model.runner(), caching());
  std::mt19937 random(1);
  const std::vector<int32_t> prompt = random_prompt(random, 22);
  for (int i = 0; i < 2; ++i) {
    int64_t next = 0;
    Request request = request_of(prompt, 2);
    request.on_prompt_logits = [&](const PromptLogits& chunk) {
      CHECK(chunk.first_position == next);
      next += chunk.n_rows;
    };
    const Result result = run(engine, std::move(request));
    CHECK(next == 22);
    CHECK(result.usage.reused_tokens == 0);
    CHECK(result.tokens == test::fake_greedy(prompt, 2));
  }
  CHECK(run(engine, request_of(prompt, 2)).usage.reused_tokens == 20);
}

TEST_CASE("sequences that share their beginning fit where copies would not") {
  RunnerOptions options = test::small_runner(32, 8);
  options.state_tokens = 80;  // 20 pages: 4 requests of 12 would be 48
  FakeModel model(options);
  Engine engine(model.runner(), caching());
  std::mt19937 random(1);
  const std::vector<int32_t> prompt = random_prompt(random, 41);
  run(engine, request_of(prompt, 1));
  std::vector<RequestId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(engine.submit(request_of(prompt, 7)));
  // The first makes its pages used, then they cost the others nothing.
  engine.run_step();
  engine.run_step();
  CHECK(engine.n_running() == 4);
  engine.run_all();
  for (const RequestId id : ids) CHECK(engine.take_result(id)->tokens == test::fake_greedy(prompt, 7));
  CHECK(engine.stats().preemptions == 0);
}
