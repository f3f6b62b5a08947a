#include "engine/prompt_logits.h"

#include <algorithm>

#include "core/error.h"
#include "engine/engine.h"

namespace llmhost::engine {

RunnerOptions limits_for_prompts(std::span<const std::vector<int32_t>> prompts, int64_t n_tokens) {
  size_t longest = 1;
  for (const std::vector<int32_t>& prompt : prompts) longest = std::max(longest, prompt.size());
  RunnerOptions limits;
  limits.kv_dtype = LLMH_DTYPE_F32;
  limits.max_context = static_cast<int64_t>(longest) + n_tokens;
  limits.max_sequences = 1;
  limits.max_tokens = static_cast<int32_t>(longest);
  limits.max_outputs = static_cast<int32_t>(longest);
  return limits;
}

std::vector<PromptRun> run_prompts(ModelRunner& runner, std::span<const std::vector<int32_t>> prompts,
                                   int64_t n_tokens, const std::shared_ptr<const Adapter>& adapter) {
  std::vector<PromptRun> runs;
  for (const std::vector<int32_t>& prompt : prompts) {
    Engine engine(runner);
    PromptRun& run = runs.emplace_back();
    Request request;
    request.adapter = adapter;
    request.prompt = prompt;
    request.max_tokens = n_tokens;
    request.sampling.temperature = 0;
    request.on_prompt_logits = [&run](const PromptLogits& logits) {
      run.logits.insert(run.logits.end(), logits.rows.begin(), logits.rows.end());
    };
    const RequestId id = engine.submit(std::move(request));
    engine.run_all();
    auto result = engine.take_result(id);
    if (result->reason == FinishReason::kError) throw_error(ErrorCode::kInternal, "{}", result->error);
    run.tokens = std::move(result->tokens);
  }
  return runs;
}

}  // namespace llmhost::engine
