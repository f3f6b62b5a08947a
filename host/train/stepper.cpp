#include "train/stepper.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"
#include "train/parallel.h"

namespace llmhost::train {
namespace {

constexpr double kClipMargin = 1e-6;  // as torch's clip_grad_norm_ has it

// Another seed for each micro-batch of each step; never 0, which means none.
uint64_t dropout_seed(uint64_t seed, int64_t step, size_t micro_batch) {
  uint64_t z = seed + 0x9E3779B97F4A7C15ULL * (static_cast<uint64_t>(step) << 20 ^ micro_batch);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  z ^= z >> 31;
  return z == 0 ? 1 : z;
}

bool all_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
}

}  // namespace

Stepper::Stepper(TrainingStack& stack, Method& method, Options options, const llmh_thread_pool* pool)
    : stack_(stack),
      method_(method),
      options_(std::move(options)),
      pool_(pool),
      optimizer_(Optimizer::make(options_.optimizer, stack.trained(), pool)),
      schedule_(options_.schedule, options_.n_steps, options_.optimizer.lr) {
  for (size_t i = 0; i < stack.trained().size(); ++i) {
    const TrainedValue& trained = stack.trained()[i];
    llmh_tuned_tensor& tensor = tensors_.emplace_back();
    tensor.struct_size = sizeof tensor;
    tensor.rank = static_cast<int32_t>(trained.shape.size());
    std::ranges::copy(trained.shape, tensor.shape);
    tensor.name = {trained.name.data(), trained.name.size()};
    tensor.n = trained.value.size();
    tensor.value = trained.value.data();
    const auto moment = [&](std::span<float> values) {
      return values.size() == trained.value.size() ? values.data() : nullptr;
    };
    tensor.first_moment = moment(optimizer_->first_moment(i));
    tensor.second_moment = moment(optimizer_->second_moment(i));
  }
}

std::vector<const llmh_tuned_tensor*> Stepper::tuned_tensors(bool with_gradients) {
  std::vector<const llmh_tuned_tensor*> pointers;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    tensors_[i].gradient = with_gradients ? stack_.trained()[i].gradient.data() : nullptr;
    pointers.push_back(&tensors_[i]);
  }
  return pointers;
}

llmh_step_info Stepper::step_info(int64_t index) const {
  llmh_step_info info{};
  info.struct_size = sizeof info;
  info.step = index;
  info.n_steps = options_.n_steps;
  return info;
}

void Stepper::start() {
  const llmh_tuning_steps* const steps = method_.steps();
  if (steps == nullptr) return;
  const auto tensors = tuned_tensors(false);
  const plugin::ControlScope scope(steps, "llmh_tuning_steps.start");
  plugin::check(steps->start(method_.get(), tensors.data(), static_cast<uint32_t>(tensors.size())));
}

bool Stepper::before_update(int64_t index) {
  const llmh_tuning_steps* const steps = method_.steps();
  if (steps == nullptr) return true;
  const auto tensors = tuned_tensors(true);
  const llmh_step_info info = step_info(index);
  int32_t updates = 1;
  const plugin::ControlScope scope(steps, "llmh_tuning_steps.before_update");
  plugin::check(steps->before_update(method_.get(), &info, tensors.data(),
                                     static_cast<uint32_t>(tensors.size()), &updates));
  return updates != 0;
}

void Stepper::after_update(int64_t index) {
  const llmh_tuning_steps* const steps = method_.steps();
  if (steps == nullptr) return;
  const auto tensors = tuned_tensors(true);
  const llmh_step_info info = step_info(index);
  const plugin::ControlScope scope(steps, "llmh_tuning_steps.after_update");
  plugin::check(
      steps->after_update(method_.get(), &info, tensors.data(), static_cast<uint32_t>(tensors.size())));
}

std::vector<std::byte> Stepper::method_state() const {
  const llmh_tuning_steps* const steps = method_.steps();
  if (steps == nullptr) return {};
  uint64_t bytes = 0;
  plugin::check(steps->state_bytes(method_.get(), &bytes));
  std::vector<std::byte> state(bytes);
  plugin::check(steps->save_state(method_.get(), state.data(), bytes));
  return state;
}

void Stepper::load_method_state(std::span<const std::byte> state) {
  const llmh_tuning_steps* const steps = method_.steps();
  if (steps == nullptr) return;
  plugin::check(steps->load_state(method_.get(), state.data(), state.size()));
}

void Stepper::scale_gradients(double factor) {
  const auto by = static_cast<float>(factor);
  for (const TrainedValue& tensor : stack_.trained())
    for_ranges(pool_, tensor.gradient.size(), [&](size_t begin, size_t end) {
      for (size_t k = begin; k < end; ++k) tensor.gradient[k] *= by;
    });
}

// Squares are summed in double: by ranges, then these in their order.
double Stepper::gradient_norm() const {
  double total = 0;
  std::vector<double> sums;
  for (const TrainedValue& tensor : stack_.trained()) {
    sums.assign(range_count(tensor.gradient.size()), 0);
    for_ranges(pool_, tensor.gradient.size(), [&](size_t begin, size_t end) {
      double sum = 0;
      for (size_t k = begin; k < end; ++k) {
        const auto value = static_cast<double>(tensor.gradient[k]);
        sum += value * value;
      }
      sums[begin / kRangeElements] = sum;
    });
    for (const double sum : sums) total += sum;
  }
  return std::sqrt(total);
}

void Stepper::check_gradients(double norm) const {
  if (std::isfinite(norm)) return;
  for (const TrainedValue& tensor : stack_.trained())
    if (!all_finite(tensor.gradient)) throw NonFiniteError(fmt::format("gradient of '{}'", tensor.name));
  throw NonFiniteError("gradient norm");
}

StepResult Stepper::step(int64_t index, std::span<const std::vector<const Example*>> micro_batches) {
  StepResult result;
  result.lr = options_.optimizer.lr * schedule_.factor(index - 1);
  stack_.zero_gradients();
  double sum = 0;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    if (i > 0 && options_.between_micro_batches) options_.between_micro_batches();
    for (const Example* example : micro_batches[i]) {
      result.n_targets += example->n_targets();
      result.n_tokens += static_cast<int64_t>(example->ids.size());
    }
    sum += stack_.accumulate(micro_batches[i], dropout_seed(options_.seed, index, i));
  }
  if (result.n_targets == 0) return result;
  const auto n = static_cast<double>(result.n_targets);
  result.loss = sum / n;
  double scale = 1 / n;
  bool updates = true;
  if (method_.steps() != nullptr) {  // they are shown the gradient of the mean loss
    check_gradients(gradient_norm());
    scale_gradients(scale);
    scale = 1;
    updates = before_update(index);
  }
  const double norm = gradient_norm();
  check_gradients(norm);
  result.grad_norm = norm * scale;
  if (!updates) return result;
  const double limit = options_.optimizer.max_grad_norm;
  if (limit > 0) scale *= std::min(1.0, limit / (result.grad_norm + kClipMargin));
  optimizer_->update(result.lr, scale);
  after_update(index);
  return result;
}

}  // namespace llmhost::train
