// A prompt gives the same logits bit for bit alone, in a batch of 32, in any chunking, token by token, and
// with 1 or 2 threads. Compared are bytes, so there is no tolerance.
#include <doctest/doctest.h>

#include <cstring>

#include "goldens/golden_case.h"
#include "support/paths.h"

namespace llmhost::test {
namespace {

bool same_bits(const ActualOutput& a, const ActualOutput& b) {
  return a.tokens == b.tokens && a.logits.size() == b.logits.size() &&
         std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * sizeof(float)) == 0;
}

void check_shape(const GoldenCase& golden, const std::vector<ActualOutput>& alone, const RunShape& shape,
                 int copies) {
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < copies; ++i)
    for (const GoldenPrompt& prompt : golden.prompts) prompts.push_back(prompt.ids);
  const auto actual = run_prompts(golden.model, prompts, 8, shape);
  for (size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(golden.name);
    CAPTURE(shape.batch_tokens);
    CAPTURE(shape.prefill_chunk);
    CAPTURE(shape.sequences);
    CAPTURE(shape.threads);
    CHECK(same_bits(actual[i], alone[i % alone.size()]));
  }
}

void check_shapes(const GoldenCase& golden, const std::string& precision) {
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenPrompt& prompt : golden.prompts) prompts.push_back(prompt.ids);
  const auto alone = run_prompts(golden.model, prompts, 8, {.threads = 1, .precision = precision});
  check_shape(golden, alone, {.threads = 2, .precision = precision}, 1);
  check_shape(golden, alone, {.prefill_chunk = 1, .precision = precision}, 1);
  check_shape(golden, alone, {.prefill_chunk = 5, .precision = precision}, 1);
  check_shape(golden, alone, {.batch_tokens = 32, .sequences = 32, .precision = precision}, 16);
  check_shape(golden, alone, {.prefill_chunk = 7, .sequences = 32, .precision = precision}, 16);
}

}  // namespace

TEST_CASE("logits do not depend on batch, chunks or threads") {
  for (const std::string& name : golden_case_names()) {
    const GoldenCase golden = load_golden_case(name);
    check_shapes(golden, "f32");
    if (golden.rounded) check_shapes(golden, "native");
  }
}

TEST_CASE("long prompts cross pages and tiles with the same bits") {
  // Ids of a real model's vocabulary in a fixed order; lengths just around the page of 32 positions and far
  // beyond.
  GoldenCase story;
  story.name = "stories260K";
  story.model = data("models/stories260K/stories260K-q8_0.gguf");
  for (const int32_t length : {31, 32, 33, 64, 65, 97, 300}) {
    std::vector<int32_t> ids{1};
    while (static_cast<int32_t>(ids.size()) < length) ids.push_back(3 + (ids.back() * 31 + length) % 500);
    story.prompts.emplace_back().ids = ids;
  }
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenPrompt& prompt : story.prompts) prompts.push_back(prompt.ids);
  for (const char* precision : {"f32", "native"}) {
    const auto alone = run_prompts(story.model, prompts, 8, {.threads = 1, .precision = precision});
    check_shape(story, alone, {.prefill_chunk = 1, .precision = precision}, 1);
    check_shape(story, alone,
                {.batch_tokens = 64, .prefill_chunk = 19, .sequences = 32, .precision = precision}, 4);
  }
}

}  // namespace llmhost::test
