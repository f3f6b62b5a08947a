// A prompt gives the same logits bit for bit alone, in a batch of 32, in any chunking, token by token, and
// with 1 or 2 threads. Compared are bytes, so there is no tolerance.
#include <doctest/doctest.h>

#include <cstring>

#include "goldens/golden_case.h"

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

}  // namespace

TEST_CASE("logits do not depend on batch, chunks or threads") {
  for (const std::string& name : golden_case_names()) {
    const GoldenCase golden = load_golden_case(name);
    std::vector<std::vector<int32_t>> prompts;
    for (const GoldenPrompt& prompt : golden.prompts) prompts.push_back(prompt.ids);
    const auto alone = run_prompts(golden.model, prompts, 8, {.threads = 1});
    check_shape(golden, alone, {.threads = 2}, 1);
    check_shape(golden, alone, {.prefill_chunk = 1}, 1);
    check_shape(golden, alone, {.prefill_chunk = 5}, 1);
    check_shape(golden, alone, {.batch_tokens = 32, .sequences = 32}, 16);
    check_shape(golden, alone, {.prefill_chunk = 7, .sequences = 32}, 16);
  }
}

}  // namespace llmhost::test
