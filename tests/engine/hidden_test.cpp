// Hidden states on the fake model, and vectors pooled from them.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "engine/engine.h"
#include "engine/fake_backend.h"
#include "engine/headless_graph.h"
#include "engine/pooling.h"
#include "engine/small_engine.h"
#include "support/temp_dir.h"

using namespace llmhost;
using namespace llmhost::engine;
using llmhost::test::FakeModel;
using llmhost::test::FakeOptions;
using llmhost::test::random_prompt;
using llmhost::test::request_of;

namespace {

// What a prompt's hidden states were given as.
struct Collected {
  int64_t first = -1;
  int64_t next = 0;
  std::vector<float> rows;
};

Request hidden_request(const std::vector<int32_t>& prompt, int64_t max_tokens, bool last,
                       Collected& collected) {
  Request request = request_of(prompt, max_tokens);
  request.hidden_of_last = last;
  request.on_prompt_hidden = [&collected](const PromptHidden& chunk) {
    if (collected.first < 0) collected.first = collected.next = chunk.first_position;
    CHECK(chunk.first_position == collected.next);
    collected.next += chunk.n_rows;
    collected.rows.insert(collected.rows.end(), chunk.rows.begin(), chunk.rows.end());
  };
  return request;
}

void check_rows(const std::vector<int32_t>& prompt, bool last, const Collected& collected) {
  const auto n = static_cast<int64_t>(prompt.size());
  CHECK(collected.first == (last ? n - 1 : 0));
  CHECK(collected.next == n);
  std::vector<float> expected;
  for (int64_t position = last ? n - 1 : 0; position < n; ++position) {
    const std::vector<float> row = test::fake_hidden({prompt.begin(), prompt.begin() + position + 1}, n);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  CHECK(collected.rows == expected);
}

std::vector<float> pooled(PoolingOptions::Mode mode, bool normalise, const std::vector<float>& rows,
                          int64_t width, int64_t dimensions = 0) {
  PoolingOptions options;
  options.mode = mode;
  options.normalise = normalise;
  Pooler pooler(options, width);
  pooler.add(rows);
  return pooler.finish(dimensions);
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("hidden states: every prompt position once, or the last, beside requests that generate") {
  std::mt19937 random(31);
  int64_t preemptions = 0;
  for (int round = 0; round < 60; ++round) {
    RunnerOptions options = test::small_runner(8 + static_cast<int32_t>(random() % 16), 4 + round % 5);
    options.state_tokens = round % 2 == 0 ? 0 : 64;
    FakeOptions fake;
    fake.host_visible = round % 3 != 0;
    FakeModel model(options, fake);
    EngineOptions engine_options;
    if (round % 4 < 2) engine_options.prefix_cache.pages = PrefixCacheOptions::kAllPages;
    Engine engine(model.runner(), engine_options);
    const std::vector<int32_t> base = random_prompt(random, 30);
    std::vector<std::vector<int32_t>> prompts;
    std::vector<Collected> collected(8);
    for (size_t i = 0; i < collected.size(); ++i) {
      prompts.emplace_back(base.begin(), base.begin() + static_cast<std::ptrdiff_t>(1 + random() % 30));
      const bool embeds = round % 5 == 0 || i % 3 != 0;
      engine.submit(hidden_request(prompts[i], embeds ? 0 : 30, i % 2 == 0, collected[i]));
      if (random() % 3 == 0) engine.run_step();
    }
    engine.run_all();
    for (size_t i = 0; i < collected.size(); ++i) {
      check_rows(prompts[i], i % 2 == 0, collected[i]);
      CHECK(engine.take_result(i + 1)->error == "");
    }
    preemptions += engine.stats().preemptions;
  }
  CHECK(preemptions > 10);
}

TEST_CASE("the hidden state of the last token alone needs no more than what the prefix cache has not") {
  FakeModel model(test::small_runner(16, 8));
  EngineOptions options;
  options.prefix_cache.pages = PrefixCacheOptions::kAllPages;
  Engine engine(model.runner(), options);
  std::mt19937 random(1);
  const std::vector<int32_t> prompt = random_prompt(random, 22);
  for (const int64_t reused : {0, 20}) {
    Collected collected;
    const RequestId id = engine.submit(hidden_request(prompt, 0, true, collected));
    engine.run_all();
    check_rows(prompt, true, collected);
    CHECK(engine.take_result(id)->usage.reused_tokens == reused);
  }
}

TEST_CASE("a hidden state that is not finite ends its request") {
  FakeModel model(test::small_runner(16, 8));
  Engine engine(model.runner());
  Collected collected;
  const RequestId id = engine.submit(hidden_request({1, test::kPoisonToken, 2}, 0, false, collected));
  engine.run_all();
  const auto result = engine.take_result(id);
  CHECK(result->reason == FinishReason::kError);
  CHECK(result->error.starts_with("the hidden state of position 1 holds nan"));
}

TEST_CASE("a graph without its head: the nodes that follow the hidden states are gone") {
  // 0 input, 1 = op(0), 2 hidden = op(1), 3 = op(2), 4 logits = op(3, 1), 5 = op(1)
  const llmh_tensor inputs[][2] = {
      {0, LLMH_NO_TENSOR}, {1, LLMH_NO_TENSOR}, {2, LLMH_NO_TENSOR}, {3, 1}, {1, 0}};
  const llmh_tensor outputs[] = {1, 2, 3, 4, 5};
  llmh_node nodes[5] = {};
  const llmh_node* pointers[5];
  for (size_t i = 0; i < 5; ++i) {
    nodes[i].inputs = inputs[i];
    nodes[i].n_inputs = 2;
    nodes[i].outputs = &outputs[i];
    nodes[i].n_outputs = 1;
    pointers[i] = &nodes[i];
  }
  const llmh_graph_output hidden{sizeof(llmh_graph_output), LLMH_OUTPUT_HIDDEN, 2};
  llmh_graph graph{};
  graph.n_tensors = 6;
  graph.nodes = pointers;
  graph.n_nodes = 5;
  const HeadlessGraph headless(graph, hidden);
  REQUIRE(headless.view().n_nodes == 3);
  CHECK(headless.view().nodes[0] == pointers[0]);
  CHECK(headless.view().nodes[1] == pointers[1]);
  CHECK(headless.view().nodes[2] == pointers[4]);
  REQUIRE(headless.view().n_outputs == 1);
  CHECK(headless.view().outputs[0] == &hidden);
}

TEST_CASE("pooling: what each way makes of rows") {
  using Mode = PoolingOptions::Mode;
  const std::vector<float> rows = {1, 2, 3, -4, 5, 9};
  CHECK(pooled(Mode::kFirst, false, rows, 2) == std::vector<float>{1, 2});
  CHECK(pooled(Mode::kLast, false, rows, 2) == std::vector<float>{5, 9});
  CHECK(pooled(Mode::kMax, false, rows, 2) == std::vector<float>{5, 9});
  CHECK(pooled(Mode::kMax, false, {-3, -1}, 2) == std::vector<float>{-3, -1});
  CHECK(pooled(Mode::kMean, false, rows, 2) == std::vector<float>{3, static_cast<float>(7.0 / 3)});
  CHECK(pooled(Mode::kWeightedMean, false, rows, 2) == std::vector<float>{22.0F / 6, 21.0F / 6});
  CHECK(pooled(Mode::kMeanSqrtLength, false, rows, 2)[0] == static_cast<float>(9 / std::sqrt(3.0)));
  CHECK(pooled(Mode::kLast, true, {3, 4}, 2) == std::vector<float>{0.6F, 0.8F});
  CHECK(pooled(Mode::kLast, true, {3, 4, 12}, 3, 2) == std::vector<float>{0.6F, 0.8F});
  CHECK(pooled(Mode::kMean, true, {0, 0}, 2) == std::vector<float>{0, 0});
  CHECK_THROWS_AS(pooled(Mode::kLast, true, rows, 2, 3), Error);
  CHECK_THROWS_AS(pooled(Mode::kLast, true, {}, 2), Error);
}

TEST_CASE("how rows are cut up shows in no bit of the vector") {
  std::mt19937 random(2);
  std::vector<float> rows(40 * 7);
  for (float& value : rows) value = std::uniform_real_distribution<float>(-1, 1)(random);
  const std::vector<float> whole = pooled(PoolingOptions::Mode::kMean, true, rows, 7);
  PoolingOptions options;
  options.mode = PoolingOptions::Mode::kMean;
  Pooler pooler(options, 7);
  for (size_t row = 0; row < 40;) {
    const size_t n = std::min<size_t>(1 + random() % 5, 40 - row);
    pooler.add(std::span(rows).subspan(row * 7, n * 7));
    row += n;
  }
  CHECK(pooler.finish() == whole);
}

TEST_CASE("the model's own files say how it pools") {
  using Mode = PoolingOptions::Mode;
  const test::TempDir folder;
  CHECK(read_pooling(folder.path()).mode == Mode::kLast);
  CHECK(read_pooling(folder.path()).normalise);
  write(
      folder.path() / "1_Pooling/config.json",
      R"({"word_embedding_dimension": 64, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true})");
  CHECK(read_pooling(folder.path()).mode == Mode::kMean);
  CHECK(read_pooling(folder.path()).normalise);
  const std::string two = R"([{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
      {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})";
  write(folder.path() / "modules.json", two + "]");
  CHECK(read_pooling(folder.path()).mode == Mode::kMean);
  CHECK_FALSE(read_pooling(folder.path()).normalise);
  write(folder.path() / "modules.json",
        two + R"(, {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}])");
  CHECK(read_pooling(folder.path()).normalise);
  write(folder.path() / "1_Pooling/config.json", R"({"pooling_mode": "lasttoken"})");
  CHECK(read_pooling(folder.path()).mode == Mode::kLast);
}

TEST_CASE("what a model asks for and is not there is named, not guessed") {
  const test::TempDir folder;
  write(folder.path() / "1_Pooling/config.json",
        R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})");
  CHECK(read_pooling(folder.path()).unsupported == "it joins several ways of pooling");
  CHECK_THROWS_AS(Pooler(read_pooling(folder.path()), 4), Error);
  write(folder.path() / "1_Pooling/config.json", R"({"pooling_mode": "attention"})");
  CHECK(read_pooling(folder.path()).unsupported == "it pools in a way that is not known");
  write(folder.path() / "modules.json",
        R"([{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}])");
  CHECK(read_pooling(folder.path()).unsupported.starts_with("modules.json has a module 'Dense'"));
  for (const char* path : {"../other", "/etc", "a/../../b"}) {
    write(folder.path() / "modules.json",
          R"([{"type": "sentence_transformers.models.Pooling", "path": ")" + std::string(path) + "\"}]");
    CHECK_THROWS_AS(read_pooling(folder.path()), Error);
  }
  for (const char* text : {"{", "{}", "[1"}) {
    write(folder.path() / "modules.json", text);
    CHECK_THROWS_AS(read_pooling(folder.path()), Error);
  }
}
