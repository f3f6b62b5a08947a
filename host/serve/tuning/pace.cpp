#include "serve/tuning/pace.h"

#include <algorithm>
#include <thread>

namespace llmhost::serve {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLongestPause{2000};

}  // namespace

void Pace::pause() {
  const auto worked = Clock::now() - last_;
  if (model_.load().running > 0 && share_ < 1) {
    const auto wanted =
        std::chrono::duration_cast<std::chrono::milliseconds>(worked * ((1 - share_) / share_));
    const auto end = Clock::now() + std::min(wanted, kLongestPause);
    while (Clock::now() < end && !stop_ && model_.load().running > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  last_ = Clock::now();
}

}  // namespace llmhost::serve
