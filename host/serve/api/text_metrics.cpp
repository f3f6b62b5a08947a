#include "serve/api/text_metrics.h"

namespace llmhost::serve {
namespace {

const std::vector<double> kFirstTokenBounds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
const std::vector<double> kTokenBounds = {0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2};

}  // namespace

void TextMetrics::tokens_used(const ModelUse& use, const AnswerUsage& usage) const {
  const MetricLabels labels = {{"model", use.model->card().id}, {"adapter", use.adapter_name}};
  metrics_.counter("prompt_tokens_total", "Tokens of prompts", labels)
      .add(static_cast<double>(usage.prompt_tokens));
  metrics_.counter("cached_prompt_tokens_total", "Tokens of prompts whose state was there already", labels)
      .add(static_cast<double>(usage.cached_tokens));
  metrics_.counter("output_tokens_total", "Tokens of answers", labels)
      .add(static_cast<double>(usage.output_tokens));
}

void TextMetrics::request_done(const ModelUse& use, const AnswerUsage& usage, Time start, Time first,
                               Time end) const {
  const MetricLabels labels = {{"model", use.model->card().id}, {"adapter", use.adapter_name}};
  const auto seconds = [](auto duration) { return std::chrono::duration<double>(duration).count(); };
  metrics_.counter("answers_total", "Requests for text that were answered", labels).add();
  metrics_.histogram("first_token_seconds", "From the request to its first token", kFirstTokenBounds, labels)
      .observe(seconds(first - start));
  if (usage.output_tokens > 1)
    metrics_.histogram("token_seconds", "Between two tokens of an answer", kTokenBounds, labels)
        .observe(seconds(end - first) / static_cast<double>(usage.output_tokens - 1));
}

}  // namespace llmhost::serve
