#include "cli/bench_speculation.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "engine/engine.h"

namespace llmhost::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Text {
  const char* name;
  std::string_view prompt;
};

constexpr Text kTexts[] = {
    {"repeat",
     "name: Anna Schmidt, city: Hamburg, status: active\nname: Bert Jansen, city: Utrecht, status: active\n"
     "name: Clara Rossi, city: Bologna, status: inactive\n\nThe same list once more:\n"
     "name: Anna Schmidt, city: Hamburg, status: active\n"},
    {"prose",
     "The old lighthouse keeper had not spoken to anyone for three weeks when, early one morning, a small "
     "boat "
     "came into the bay. He put down his cup, went to the window and"},
};

struct Run {
  double tokens_per_s = 0;
  engine::Usage usage;
};

// The time counts from the first token: what comes before is the prompt's.
Run generate(engine::Engine& engine, const std::vector<int32_t>& prompt, int64_t tokens) {
  engine::Request request;
  request.prompt = prompt;
  request.max_tokens = tokens;
  request.sampling.temperature = 0;
  Clock::time_point first;
  request.on_token = [&first](const engine::TokenEvent& event) {
    if (event.n_output == 1) first = Clock::now();
    return true;
  };
  const engine::RequestId id = engine.submit(std::move(request));
  engine.run_until(id);
  const double seconds = std::chrono::duration<double>(Clock::now() - first).count();
  const engine::Result result = engine.take_result(id).value();
  if (result.reason == engine::FinishReason::kError) throw_error(ErrorCode::kInternal, "{}", result.error);
  return {static_cast<double>(tokens - 1) / seconds, result.usage};
}

OrderedJson measure(engine::Engine& engine, const std::string& name, const std::vector<int32_t>& prompt,
                    int64_t tokens, int64_t repeat) {
  generate(engine, prompt, std::min<int64_t>(tokens, 4));  // wakes the threads and pages in the weights
  std::vector<double> samples;
  engine::Usage usage;
  for (int64_t i = 0; i < repeat; ++i) {
    const Run run = generate(engine, prompt, tokens);
    samples.push_back(run.tokens_per_s);
    usage = run.usage;  // the same each time
  }
  std::vector<double> sorted = samples;
  std::sort(sorted.begin(), sorted.end());
  const double median = (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;
  return {{"test", name},
          {"tokens_per_s", median},
          {"samples", samples},
          {"drafted", usage.proposed},
          {"accepted", usage.accepted},
          {"steps", usage.steps}};
}

}  // namespace

OrderedJson bench_speculation(OpenedModel& opened, Speculation& speculation, const text::Tokenizer& tokenizer,
                              int64_t tokens, int64_t repeat) {
  OrderedJson rows = OrderedJson::array();
  for (const Text& text : kTexts) {
    std::vector<int32_t> prompt = tokenizer.encode(text.prompt, {.add_special = true});
    prompt.resize(std::min(prompt.size(), static_cast<size_t>(kSpeculationPrompt)));
    const std::string name = fmt::format("{}{}", text.name, tokens);
    {
      engine::Engine plain(opened.stack().runner());
      rows.push_back(measure(plain, name, prompt, tokens, repeat));
    }
    engine::Engine speculating(opened.stack().runner(), {}, speculation.proposer());
    rows.push_back(
        measure(speculating, fmt::format("{}+{}", name, speculation.mode()), prompt, tokens, repeat));
  }
  return rows;
}

}  // namespace llmhost::cli
