// How the next token is chosen: a request's parameters, with their ranges.
//
// The chain, in this order (sampler.h runs it):
//   1. logit_bias            added to the logits of its tokens
//   2. repetition_penalty    tokens of prompt and output: logit > 0 is divided by it, others multiplied
//   (Keskar et al. 2019)
//   3. presence_penalty      subtracted once from tokens of the output
//      frequency_penalty     subtracted for each time the token is in the output
//   4. temperature           0: the largest logit is taken (the lowest id of equals), the rest is skipped
//   5. top_k                 the k largest
//   6. top_p                 the fewest of the largest whose share of what top_k left reaches p (Holtzman et
//   al. 2020)
//   7. min_p                 at least min_p times the probability of the largest
//   8. the draw              one number of the request's own random sequence per token
// Logprobs are those of the model: log-softmax of the logits before step 1.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace llmhost::engine {

struct LogitBias {
  int32_t token = 0;
  float bias = 0;
};

struct SamplingParams {
  static constexpr int32_t kMaxTopLogprobs = 20;
  static constexpr size_t kMaxLogitBias = 4096;

  float temperature = 1.0F;           // [0, 100]
  int32_t top_k = 0;                  // 0: off
  float top_p = 1.0F;                 // (0, 1]; 1: off
  float min_p = 0.0F;                 // [0, 1]; 0: off
  float repetition_penalty = 1.0F;    // (0, 10]; 1: off
  float presence_penalty = 0.0F;      // [-2, 2]
  float frequency_penalty = 0.0F;     // [-2, 2]
  std::vector<LogitBias> logit_bias;  // [-100, 100] each, tokens of the vocabulary, none twice
  std::optional<uint64_t> seed;       // none: a new one for each request, told in the result
  bool logprobs = false;              // of the chosen token
  int32_t top_logprobs = 0;           // [0, kMaxTopLogprobs]; needs logprobs

  bool uses_penalties() const {
    return repetition_penalty != 1.0F || presence_penalty != 0.0F || frequency_penalty != 0.0F;
  }

  // Throws kInvalidArgument naming the field, its value and its range.
  void validate(int64_t vocab_size) const;
};

}  // namespace llmhost::engine
