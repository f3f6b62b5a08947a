// How many tokens a step may have so that it ends in time: what is cancelled, and who comes new, waits for
// the step that runs.
//
// The rule: after a step that used at least half of the limit, the limit becomes the number of tokens that
// take the wanted time at that step's time per token; at most twice and at least a quarter of what it was.
// Other steps say little: few tokens take nearly as long as one, because the weights are read all the same.
#pragma once

#include <algorithm>
#include <cstdint>

namespace llmhost::serve {

class StepPace {
 public:
  explicit StepPace(double wanted_s, int32_t most_tokens)
      : wanted_s_(wanted_s), most_(most_tokens), limit_(std::min(kFirst, most_tokens)) {}

  int32_t limit() const { return limit_; }

  void observe(int32_t tokens, double seconds) {
    if (int64_t{tokens} * 2 < limit_ || tokens <= 0 || seconds <= 0) return;
    const double fitting = tokens * wanted_s_ / seconds;
    const double bounded = std::clamp(fitting, limit_ / 4.0, limit_ * 2.0);
    limit_ = std::clamp(static_cast<int32_t>(std::min<double>(bounded, most_)), 1, most_);
  }

 private:
  static constexpr int32_t kFirst = 64;

  double wanted_s_;
  int32_t most_;
  int32_t limit_;
};

}  // namespace llmhost::serve
