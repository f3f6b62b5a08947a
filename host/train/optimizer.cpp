#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "model/layout_steps.h"
#include "train/adafactor.h"
#include "train/parallel.h"

namespace llmhost::train {
namespace {

// One vector of floats a tensor.
std::vector<std::vector<float>> zeros_like(std::span<const TrainedValue> trained) {
  std::vector<std::vector<float>> zeros;
  for (const TrainedValue& tensor : trained) zeros.emplace_back(tensor.value.size(), 0.0F);
  return zeros;
}

class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, std::span<const TrainedValue> trained, const llmh_thread_pool* pool)
      : Optimizer(trained, pool), options_(options), m_(zeros_like(trained)), v_(zeros_like(trained)) {}

  std::span<float> first_moment(size_t index) override { return m_[index]; }
  std::span<float> second_moment(size_t index) override { return v_[index]; }

  std::vector<State> state() override {
    std::vector<State> all;
    for (size_t i = 0; i < trained_.size(); ++i) {
      all.push_back({trained_[i].name + ".m", m_[i]});
      all.push_back({trained_[i].name + ".v", v_[i]});
    }
    return all;
  }

 private:
  struct Factors {
    float scale, keep, beta1, rest1, beta2, rest2, root2, eps, step;
  };

  void apply(double lr, float gradient_scale) override {
    const auto t = static_cast<double>(updates_);
    Factors f{};
    f.scale = gradient_scale;
    f.keep = static_cast<float>(1 - lr * options_.weight_decay);
    f.beta1 = static_cast<float>(options_.beta1);
    f.rest1 = static_cast<float>(1 - options_.beta1);
    f.beta2 = static_cast<float>(options_.beta2);
    f.rest2 = static_cast<float>(1 - options_.beta2);
    f.root2 = static_cast<float>(std::sqrt(1 - std::pow(options_.beta2, t)));
    f.eps = static_cast<float>(options_.eps);
    f.step = static_cast<float>(lr / (1 - std::pow(options_.beta1, t)));
    for (size_t i = 0; i < trained_.size(); ++i)
      for_ranges(pool_, trained_[i].value.size(), [&](size_t begin, size_t end) {
        update_range(f, trained_[i].value.data() + begin, trained_[i].gradient.data() + begin,
                     m_[i].data() + begin, v_[i].data() + begin, end - begin);
      });
  }

  // One pass over everything.
  static void update_range(const Factors& f, float* __restrict p, const float* __restrict g,
                           float* __restrict m, float* __restrict v, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      const float gradient = g[i] * f.scale;
      const float first = f.beta1 * m[i] + f.rest1 * gradient;
      const float second = f.beta2 * v[i] + f.rest2 * gradient * gradient;
      m[i] = first;
      v[i] = second;
      p[i] = p[i] * f.keep - f.step * (first / (std::sqrt(second) / f.root2 + f.eps));
    }
  }

  OptimizerOptions options_;
  std::vector<std::vector<float>> m_, v_;
};

// The decay is part of the gradient, as in torch.
class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, std::span<const TrainedValue> trained, const llmh_thread_pool* pool)
      : Optimizer(trained, pool), options_(options) {
    if (options.momentum != 0) velocity_ = zeros_like(trained);
  }

  std::span<float> first_moment(size_t index) override {
    return velocity_.empty() ? std::span<float>() : velocity_[index];
  }
  std::span<float> second_moment(size_t /*index*/) override { return {}; }

  std::vector<State> state() override {
    std::vector<State> all;
    for (size_t i = 0; i < velocity_.size(); ++i)
      all.push_back({trained_[i].name + ".velocity", velocity_[i]});
    return all;
  }

 private:
  void apply(double lr, float gradient_scale) override {
    const auto rate = static_cast<float>(lr);
    const auto decay = static_cast<float>(options_.weight_decay);
    const auto momentum = static_cast<float>(options_.momentum);
    for (size_t i = 0; i < trained_.size(); ++i)
      for_ranges(pool_, trained_[i].value.size(), [&](size_t begin, size_t end) {
        float* const p = trained_[i].value.data();
        const float* const g = trained_[i].gradient.data();
        float* const velocity = velocity_.empty() ? nullptr : velocity_[i].data();
        for (size_t k = begin; k < end; ++k) {
          float change = g[k] * gradient_scale + decay * p[k];
          if (velocity != nullptr) change = velocity[k] = momentum * velocity[k] + change;
          p[k] -= rate * change;
        }
      });
  }

  OptimizerOptions options_;
  std::vector<std::vector<float>> velocity_;  // empty without momentum
};

}  // namespace

std::unique_ptr<Optimizer> Optimizer::make(const OptimizerOptions& options,
                                           std::span<const TrainedValue> trained,
                                           const llmh_thread_pool* pool) {
  switch (options.kind) {
    case OptimizerKind::kSgd:
      return std::make_unique<Sgd>(options, trained, pool);
    case OptimizerKind::kAdafactor:
      return std::make_unique<Adafactor>(options, trained, pool);
    default:
      return std::make_unique<AdamW>(options, trained, pool);
  }
}

uint64_t Optimizer::bytes(const OptimizerOptions& options, std::span<const std::vector<int64_t>> shapes) {
  uint64_t elements = 0;
  for (const std::vector<int64_t>& shape : shapes) {
    const uint64_t n = model::element_count(shape);
    if (options.kind == OptimizerKind::kAdafactor)
      elements += Adafactor::state_elements(shape);
    else if (options.kind == OptimizerKind::kSgd)
      elements += options.momentum != 0 ? n : 0;
    else
      elements += 2 * n;
  }
  return elements * sizeof(float);
}

void Optimizer::update(double lr, double gradient_scale) {
  ++updates_;
  apply(lr, static_cast<float>(gradient_scale));
}

}  // namespace llmhost::train
