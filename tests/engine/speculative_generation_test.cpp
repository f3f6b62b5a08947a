// Speculation on a real model through loader, CPU plugin and engine: tokens, logprobs and texts are those of
// plain decoding, bit for bit, whatever proposes and however the work is cut up.
#include <doctest/doctest.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "engine/draft_model.h"
#include "engine/lookup.h"
#include "engine/session.h"
#include "engine/story_model.h"
#include "text/tokenizer.h"

using namespace llmhost;
using namespace llmhost::engine;

namespace {

// The story model with weights that are off by some percent: a draft model of the same vocabulary that is
// often, not always right.
class WornModel {
 public:
  explicit WornModel(const RunnerOptions& options)
      : folder_(std::filesystem::temp_directory_path() /
                ("llmhost_worn_model_" + std::to_string(::getpid()))) {
    std::filesystem::create_directory(folder_);
    const std::filesystem::path from = test::data("models/stories260K");
    std::filesystem::copy_file(from / "config.json", folder_ / "config.json");
    std::ifstream in(from / "model.safetensors", std::ios::binary);
    std::string bytes(std::istreambuf_iterator<char>(in), {});
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof(header));
    std::mt19937 random(1);
    for (size_t at = sizeof(header) + header; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
      float weight = 0;
      std::memcpy(&weight, bytes.data() + at, sizeof(weight));
      weight *= 1 + 0.1F * (static_cast<float>(random() % 2001) / 1000 - 1);
      std::memcpy(bytes.data() + at, &weight, sizeof(weight));
    }
    std::ofstream(folder_ / "model.safetensors", std::ios::binary) << bytes;
    model_ = std::make_unique<test::StoryModel>(options, 1, folder_.c_str());
  }
  ~WornModel() { std::filesystem::remove_all(folder_); }
  WornModel(const WornModel&) = delete;
  WornModel& operator=(const WornModel&) = delete;
  ModelRunner& runner() { return model_->runner(); }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<test::StoryModel> model_;
};

struct Output {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> logprobs;  // bits
  std::string text;
  std::string stop_string;
  FinishReason reason = FinishReason::kStop;
  bool operator==(const Output&) const = default;
};

class StoryDecoder final : public TokenDecoder {
 public:
  StoryDecoder() : decoding_(tokenizer().new_decoding({})) {}
  void push(int32_t token, std::string& out) override { decoding_->push(token, out); }
  void finish(std::string& out) override { decoding_->finish(out); }

 private:
  static const text::Tokenizer& tokenizer() {
    static const auto loaded = text::load_tokenizer(test::data("models/stories260K"));
    return *loaded;
  }
  std::unique_ptr<text::Decoding> decoding_;
};

// Every third request has stop strings, every fourth few tokens, every fifth ends its prompt with a
// repetition.
Request request_of(size_t i, float temperature, Output& output) {
  Request request;
  request.prompt = test::story_prompts()[i];
  if (i % 5 == 0) request.prompt.insert(request.prompt.end(), {403, 407, 261, 378, 403, 407});
  request.max_tokens = i % 4 == 0 ? static_cast<int64_t>(i % 7) : 60;
  request.sampling.temperature = temperature;
  request.sampling.top_p = 0.9F;
  request.sampling.frequency_penalty = i % 2 == 0 ? 0.0F : 0.3F;
  request.sampling.seed = i;
  request.sampling.logprobs = true;
  request.sampling.top_logprobs = 2;
  request.decoder = std::make_unique<StoryDecoder>();
  if (i % 3 == 0) request.stop_strings = {" the", "ed to", "."};
  if (i % 7 == 0) request.stop_tokens = {426};
  request.on_token = [&output](const TokenEvent& event) {
    if (event.choice != nullptr) output.logprobs.push_back(std::bit_cast<uint64_t>(event.choice->logprob));
    return true;
  };
  request.on_finish = [&output](Result&& result) {
    output.tokens = std::move(result.tokens);
    output.text = std::move(result.text);
    output.stop_string = std::move(result.stop_string);
    output.reason = result.reason;
  };
  return request;
}

constexpr size_t kRequests = 32;

std::vector<Output> run(Engine& engine, float temperature, bool together) {
  std::vector<Output> outputs(kRequests);
  for (size_t i = 0; i < kRequests; ++i) {
    engine.submit(request_of(i, temperature, outputs[i]));
    if (!together) engine.run_all();
  }
  engine.run_all();
  CHECK(engine.free_pages() == engine.n_pages());
  return outputs;
}

RunnerOptions options_for(int32_t sequences, int32_t proposals) {
  RunnerOptions options = test::story_options();
  options.max_sequences = sequences;
  options.max_outputs = sequences * (1 + proposals);
  return options;
}

const std::vector<Output>& plain(float temperature) {
  static std::vector<Output> greedy;
  static std::vector<Output> sampled;
  std::vector<Output>& outputs = temperature == 0 ? greedy : sampled;
  if (outputs.empty()) {
    test::StoryModel model(test::story_options());
    Engine engine(model.runner());
    outputs = run(engine, temperature, false);
  }
  return outputs;
}

SpeculationOptions speculation(int32_t tokens) {
  SpeculationOptions options;
  options.tokens = tokens;
  return options;
}

}  // namespace

TEST_CASE("lookup changes no bit of greedy or seeded output, alone, together and preempted") {
  for (const float temperature : {0.0F, 0.8F}) {
    for (const int64_t state_tokens : {0, 400}) {
      RunnerOptions options = options_for(8, 5);
      options.state_tokens = state_tokens;
      test::StoryModel model(options, 2);
      for (const bool together : {false, true}) {
        CAPTURE(temperature);
        CAPTURE(state_tokens);
        CAPTURE(together);
        Engine engine(model.runner(), {}, std::make_unique<LookupProposer>(speculation(5)));
        CHECK(run(engine, temperature, together) == plain(temperature));
        CHECK(engine.stats().accepted > 5);
        CHECK(engine.stats().accepted < engine.stats().proposed);
      }
    }
  }
}

TEST_CASE("a draft model changes no bit of greedy output, right or worn, alone, together and preempted") {
  for (const bool worn : {false, true}) {
    for (const int64_t state_tokens : {0, 400}) {
      RunnerOptions options = options_for(8, 4);
      options.state_tokens = state_tokens;
      test::StoryModel model(options, 2);
      options.state_tokens = 0;
      WornModel worn_draft(options);
      test::StoryModel same_draft(options);
      ModelRunner& draft = worn ? worn_draft.runner() : same_draft.runner();
      for (const bool together : {false, true}) {
        CAPTURE(worn);
        CAPTURE(together);
        auto proposer = std::make_unique<DraftProposer>(draft, model.runner().vocab_size(), speculation(4));
        Engine engine(model.runner(), {}, std::move(proposer));
        CHECK(run(engine, 0, together) == plain(0));
        const EngineStats& stats = engine.stats();
        MESSAGE((worn ? "worn" : "same")
                << " draft: accepted " << stats.accepted << " of " << stats.proposed);
        CHECK(stats.accepted > stats.proposed / 4);
        if (worn) CHECK(stats.accepted < stats.proposed * 95 / 100);
      }
    }
  }
}

TEST_CASE("sampling with a draft model gives the same tokens for a seed, however the work is cut up") {
  std::vector<Output> alone;
  for (const int32_t threads : {1, 2}) {
    for (const int64_t state_tokens : {0, 400}) {
      RunnerOptions options = options_for(6, 4);
      options.state_tokens = state_tokens;
      test::StoryModel model(options, threads);
      options.state_tokens = 0;
      WornModel draft(options);
      EngineOptions engine_options;
      engine_options.prefill_chunk = threads * 7;
      Engine engine(
          model.runner(), engine_options,
          std::make_unique<DraftProposer>(draft.runner(), model.runner().vocab_size(), speculation(4)));
      CAPTURE(threads);
      CAPTURE(state_tokens);
      if (alone.empty()) alone = run(engine, 0.8F, false);
      CHECK(run(engine, 0.8F, true) == alone);
    }
  }
}

TEST_CASE("the turns of a session are those of plain decoding") {
  RunnerOptions options = options_for(1, 4);
  test::StoryModel model(options, 2);
  WornModel draft(options);
  for (const bool drafts : {false, true}) {
    std::unique_ptr<Proposer> proposer = std::make_unique<LookupProposer>(speculation(4));
    if (drafts)
      proposer = std::make_unique<DraftProposer>(draft.runner(), model.runner().vocab_size(), speculation(4));
    std::vector<int32_t> talk = test::story_prompts()[5];
    std::vector<int32_t> plain_talk = talk;
    Engine engine(model.runner(), {}, std::move(proposer));
    Session session(engine);
    for (int turn = 0; turn < 3; ++turn) {
      const auto ask = [&](std::vector<int32_t>& text, auto&& submit, Engine& by) {
        Output output;
        Request request = request_of(1, 0, output);
        request.prompt = text;
        request.max_tokens = 30;
        submit(std::move(request));
        by.run_all();
        text.insert(text.end(), output.tokens.begin(), output.tokens.end());
        text.insert(text.end(), {10, 20, 30});
      };
      ask(
          talk, [&](Request&& request) { session.submit(std::move(request)); }, engine);
      test::StoryModel fresh(test::story_options());
      Engine plain_engine(fresh.runner());
      ask(
          plain_talk, [&](Request&& request) { plain_engine.submit(std::move(request)); }, plain_engine);
      CHECK(talk == plain_talk);
    }
    CHECK(engine.stats().proposed > 0);
  }
}
