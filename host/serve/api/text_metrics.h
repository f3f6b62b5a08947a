// What is counted of answers: tokens, and how long callers waited for them, by model and adapter.
#pragma once

#include <chrono>

#include "serve/api/generation.h"
#include "serve/http/metrics.h"

namespace llmhost::serve {

class TextMetrics {
 public:
  explicit TextMetrics(Metrics& metrics) : metrics_(metrics) {}

  using Time = std::chrono::steady_clock::time_point;
  // Tokens are counted when they are computed, whether the request is answered or not.
  void tokens_used(const ModelUse& use, const AnswerUsage& usage) const;
  void request_done(const ModelUse& use, const AnswerUsage& usage, Time start, Time first, Time end) const;

 private:
  Metrics& metrics_;
};

}  // namespace llmhost::serve
