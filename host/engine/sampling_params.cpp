#include "engine/sampling_params.h"

#include <algorithm>
#include <string_view>

#include "core/error.h"

namespace llmhost::engine {
namespace {

void check_range(std::string_view field, float value, float low, float high) {
  // Written so that NaN fails.
  if (!(value >= low && value <= high))
    throw_invalid("{}: got {}, expected a number from {} to {}", field, value, low, high);
}

void check_above_zero(std::string_view field, float value, float high) {
  if (!(value > 0 && value <= high))
    throw_invalid("{}: got {}, expected a number above 0 and up to {}", field, value, high);
}

void check_bias(const std::vector<LogitBias>& biases, int64_t vocab_size) {
  if (biases.size() > SamplingParams::kMaxLogitBias)
    throw_invalid("logit_bias: got {} tokens, expected at most {}", biases.size(),
                  SamplingParams::kMaxLogitBias);
  std::vector<int32_t> tokens;
  tokens.reserve(biases.size());
  for (const LogitBias& entry : biases) {
    if (entry.token < 0 || entry.token >= vocab_size)
      throw_invalid("logit_bias: token {} is outside the vocabulary of {}", entry.token, vocab_size);
    check_range("logit_bias", entry.bias, -100, 100);
    tokens.push_back(entry.token);
  }
  std::sort(tokens.begin(), tokens.end());
  const auto twice = std::adjacent_find(tokens.begin(), tokens.end());
  if (twice != tokens.end()) throw_invalid("logit_bias: token {} is given twice", *twice);
}

}  // namespace

void SamplingParams::validate(int64_t vocab_size) const {
  check_range("temperature", temperature, 0, 100);
  if (top_k < 0) throw_invalid("top_k: got {}, expected 0 (off) or more", top_k);
  check_above_zero("top_p", top_p, 1);
  check_range("min_p", min_p, 0, 1);
  check_above_zero("repetition_penalty", repetition_penalty, 10);
  check_range("presence_penalty", presence_penalty, -2, 2);
  check_range("frequency_penalty", frequency_penalty, -2, 2);
  if (top_logprobs < 0 || top_logprobs > kMaxTopLogprobs)
    throw_invalid("top_logprobs: got {}, expected 0 to {}", top_logprobs, kMaxTopLogprobs);
  if (top_logprobs > 0 && !logprobs)
    throw_invalid("top_logprobs: got {}, needs logprobs: true", top_logprobs);
  check_bias(logit_bias, vocab_size);
}

}  // namespace llmhost::engine
