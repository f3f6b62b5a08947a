#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/names.h"

namespace llmhost::train {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kLongTimescale = 10000;  // of inverse_sqrt without warm-up

}  // namespace

const std::vector<std::string>& schedule_names() {
  static const std::vector<std::string> names = {"constant",   "constant_with_warmup", "linear",
                                                 "cosine",     "cosine_with_restarts", "cosine_with_min_lr",
                                                 "polynomial", "inverse_sqrt"};
  return names;
}

Schedule::Schedule(const ScheduleOptions& options, int64_t n_steps, double base_rate)
    : options_(options), n_steps_(n_steps), base_rate_(base_rate) {
  const auto& names = schedule_names();
  if (std::ranges::find(names, options.name) == names.end())
    throw_invalid("schedule {} is unknown{}", quote_name(options.name), did_you_mean(options.name, names));
  if (n_steps < 0 || options.warmup_steps < 0 || !(options.warmup_ratio >= 0 && options.warmup_ratio <= 1))
    throw_invalid("schedule '{}': {} steps with a warm-up of {} steps or the ratio {}", options.name, n_steps,
                  options.warmup_steps, options.warmup_ratio);
  warmup_ = options.warmup_steps > 0
                ? options.warmup_steps
                : static_cast<int64_t>(std::ceil(options.warmup_ratio * static_cast<double>(n_steps)));
  if (options.name == "constant") warmup_ = 0;
  const double usual_cycles = options.name == "cosine_with_restarts" ? 1 : 0.5;
  cycles_ = options.num_cycles < 0 ? usual_cycles : options.num_cycles;
}

double Schedule::factor(int64_t step) const {
  if (step < warmup_) return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_));
  return decayed(static_cast<double>(step));
}

// Every product and sum in the order of the reference.
double Schedule::decayed(double s) const {
  const auto w = static_cast<double>(warmup_);
  const auto n = static_cast<double>(n_steps_);
  const double length = std::max(1.0, n - w);
  const double progress = (s - w) / length;
  const std::string& name = options_.name;
  if (name == "linear") return std::max(0.0, (n - s) / length);
  if (name == "cosine") return std::max(0.0, 0.5 * (1.0 + std::cos(kPi * cycles_ * 2.0 * progress)));
  if (name == "cosine_with_restarts")
    return progress >= 1.0 ? 0.0
                           : std::max(0.0, 0.5 * (1.0 + std::cos(kPi * std::fmod(cycles_ * progress, 1.0))));
  if (name == "cosine_with_min_lr") {
    const double factor = 0.5 * (1.0 + std::cos(kPi * cycles_ * 2.0 * progress));
    return std::max(0.0, factor * (1 - options_.min_lr_rate) + options_.min_lr_rate);
  }
  if (name == "polynomial") {
    if (s >= n) return options_.lr_end / base_rate_;
    const double remaining = 1 - progress;
    return ((base_rate_ - options_.lr_end) * std::pow(remaining, options_.power) + options_.lr_end) /
           base_rate_;
  }
  if (name == "inverse_sqrt") {
    const double timescale = warmup_ > 0 ? w : kLongTimescale;
    return 1.0 / std::sqrt((s + (timescale - w)) / timescale);
  }
  return 1;
}

}  // namespace llmhost::train
