// Adafactor (Shazeer, Stern 2018), as transformers' with scale_parameter and relative_step off. Private to
// the layer.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "train/optimizer.h"

namespace llmhost::train {

class Adafactor final : public Optimizer {
 public:
  Adafactor(const OptimizerOptions& options, std::span<const TrainedValue> trained,
            const llmh_thread_pool* pool);

  static uint64_t state_elements(std::span<const int64_t> shape);

  std::span<float> first_moment(size_t /*index*/) override { return {}; }
  std::span<float> second_moment(size_t index) override;
  std::vector<State> state() override;

 private:
  // The means of the squared gradient over columns and over rows of each matrix; of a vector all elements.
  struct Moments {
    size_t matrices = 0, rows = 0, columns = 0;  // 0 matrices: not factored
    std::vector<float> row, column, whole;
  };

  void apply(double lr, float gradient_scale) override;
  void update_factored(size_t index, double lr, float gradient_scale, float beta2);
  void update_whole(size_t index, double lr, float gradient_scale, float beta2);
  void take_means(const Moments& moments, const float* gradient, float gradient_scale, float beta2,
                  size_t index);
  // p -= lr * change / max(1, rms(change)), after the decay; `change` is what is in change_.
  void step(size_t index, double lr);

  OptimizerOptions options_;
  std::vector<Moments> moments_;
  std::vector<float> change_;   // of the largest tensor
  std::vector<double> sums_;    // of ranges
  std::vector<float> factors_;  // rows and columns of one tensor
};

}  // namespace llmhost::train
