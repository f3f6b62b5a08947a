// Hidden states of real graphs through CPU plugin and engine, pooled, beside what transformers gives
// (tests/data/hidden). f32 on both sides; the largest difference allowed is 1e-4 of the vector's largest
// number, what sums in another order leave.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/json.h"
#include "engine/pooling.h"
#include "engine/story_model.h"

using namespace llmhost;
using namespace llmhost::engine;

namespace {

using Mode = PoolingOptions::Mode;

std::vector<float> vector_of(ModelRunner& runner, const std::vector<int32_t>& prompt, Mode mode,
                             bool normalise, bool beside_generation) {
  PoolingOptions options;
  options.mode = mode;
  options.normalise = normalise;
  Pooler pooler(options, runner.hidden_size());
  Engine engine(runner);
  Request request;
  request.prompt = prompt;
  request.max_tokens = 0;
  request.hidden_of_last = options.needs_last_only();
  request.on_prompt_hidden = [&](const PromptHidden& chunk) { pooler.add(chunk.rows); };
  if (beside_generation) {
    Request other;
    other.prompt = {1, 5, 9};
    other.max_tokens = 8;
    engine.submit(std::move(other));
  }
  const RequestId id = engine.submit(std::move(request));
  engine.run_all();
  REQUIRE(engine.take_result(id)->error == "");
  return pooler.finish();
}

void check_close(const std::vector<float>& got, const Json& expected) {
  REQUIRE(got.size() == expected.size());
  double largest = 0;
  for (const Json& value : expected) largest = std::max(largest, std::abs(value.get<double>()));
  for (size_t i = 0; i < got.size(); ++i)
    CHECK(std::abs(double{got[i]} - expected[i].get<double>()) < 1e-4 * largest);
}

}  // namespace

TEST_CASE("pooled hidden states are those of the reference") {
  for (const Json& expected : read_json_file(test::data("hidden") / "expected.json")) {
    const std::string name = expected["model"];
    CAPTURE(name);
    RunnerOptions options = test::story_options();
    options.max_context = 64;
    options.max_tokens = 32;
    options.max_sequences = 2;
    options.max_outputs = 5;
    test::StoryModel model(options, 1, "", name, "f32");
    const auto prompt = expected["prompt"].get<std::vector<int32_t>>();
    for (const bool beside : {false, true}) {
      const auto vector = [&](Mode mode, bool normalise = false) {
        return vector_of(model.runner(), prompt, mode, normalise, beside);
      };
      check_close(vector(Mode::kFirst), expected["first"]);
      check_close(vector(Mode::kLast), expected["last"]);
      check_close(vector(Mode::kMean), expected["mean"]);
      check_close(vector(Mode::kWeightedMean), expected["weighted_mean"]);
      check_close(vector(Mode::kMax), expected["max"]);
      check_close(vector(Mode::kMean, true), expected["mean_normalised"]);
    }
    CHECK(vector_of(model.runner(), prompt, Mode::kMean, true, true) ==
          vector_of(model.runner(), prompt, Mode::kMean, true, false));
  }
}
