#include "train/golden_prompts.h"

#include <cstddef>

#include "engine/model_settings.h"
#include "text/tokenizer.h"

namespace llmhost::train {
namespace {

constexpr size_t kPrompts = 3;
constexpr size_t kMostTokens = 64;

}  // namespace

std::vector<std::vector<int32_t>> golden_prompts(const Job& job, const Dataset& data) {
  std::vector<std::vector<int32_t>> prompts;
  if (!job.golden_prompts.empty()) {
    const auto tokenizer = text::load_tokenizer(engine::tokenizer_path(job.model));
    for (const std::string& text : job.golden_prompts)
      prompts.push_back(tokenizer->encode(text, {.add_special = true}));
    return prompts;
  }
  for (const Example& example : data.examples) {
    if (prompts.size() == kPrompts) break;
    size_t n = 1;
    while (n < example.ids.size() && n < kMostTokens && example.labels[n] == kNoLabel) ++n;
    prompts.emplace_back(example.ids.begin(), example.ids.begin() + static_cast<std::ptrdiff_t>(n));
  }
  return prompts;
}

}  // namespace llmhost::train
