#include "train/adafactor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/layout_steps.h"
#include "train/parallel.h"

namespace llmhost::train {
namespace {

constexpr double kDecayExponent = -0.8;
constexpr float kSmallest = 1e-30F;     // added to squared gradients
constexpr double kClipThreshold = 1.0;  // of the change's root mean square

double sum_of(std::span<const double> sums) {
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

uint64_t Adafactor::state_elements(std::span<const int64_t> shape) {
  const uint64_t n = model::element_count(shape);
  if (shape.size() < 2 || n == 0) return n;
  const auto rows = static_cast<uint64_t>(shape[shape.size() - 2]);
  const auto columns = static_cast<uint64_t>(shape.back());
  return n / columns + n / rows;
}

Adafactor::Adafactor(const OptimizerOptions& options, std::span<const TrainedValue> trained,
                     const llmh_thread_pool* pool)
    : Optimizer(trained, pool), options_(options) {
  size_t largest = 0;
  for (const TrainedValue& tensor : trained) {
    const size_t n = tensor.value.size();
    largest = std::max(largest, n);
    Moments& moments = moments_.emplace_back();
    if (tensor.shape.size() < 2 || n == 0) {
      moments.whole.assign(n, 0.0F);
      continue;
    }
    moments.rows = static_cast<size_t>(tensor.shape[tensor.shape.size() - 2]);
    moments.columns = static_cast<size_t>(tensor.shape.back());
    moments.matrices = n / moments.rows / moments.columns;
    moments.row.assign(moments.matrices * moments.rows, 0.0F);
    moments.column.assign(moments.matrices * moments.columns, 0.0F);
  }
  change_.resize(largest);
  sums_.resize(range_count(largest));
}

std::span<float> Adafactor::second_moment(size_t index) {
  return moments_[index].whole;
}

std::vector<Optimizer::State> Adafactor::state() {
  std::vector<State> all;
  for (size_t i = 0; i < moments_.size(); ++i) {
    if (moments_[i].matrices == 0) {
      all.push_back({trained_[i].name + ".v", moments_[i].whole});
      continue;
    }
    all.push_back({trained_[i].name + ".rows", moments_[i].row});
    all.push_back({trained_[i].name + ".columns", moments_[i].column});
  }
  return all;
}

void Adafactor::apply(double lr, float gradient_scale) {
  const auto beta2 = static_cast<float>(1 - std::pow(static_cast<double>(updates_), kDecayExponent));
  for (size_t i = 0; i < trained_.size(); ++i) {
    if (moments_[i].matrices == 0)
      update_whole(i, lr, gradient_scale, beta2);
    else
      update_factored(i, lr, gradient_scale, beta2);
  }
}

void Adafactor::update_whole(size_t index, double lr, float gradient_scale, float beta2) {
  const float* const g = trained_[index].gradient.data();
  float* const v = moments_[index].whole.data();
  for_ranges(pool_, trained_[index].value.size(), [&](size_t begin, size_t end) {
    for (size_t k = begin; k < end; ++k) {
      const float gradient = g[k] * gradient_scale;
      v[k] = beta2 * v[k] + (1 - beta2) * (gradient * gradient + kSmallest);
      change_[k] = gradient / std::sqrt(v[k]);
    }
  });
  step(index, lr);
}

void Adafactor::take_means(const Moments& moments, const float* gradient, float gradient_scale, float beta2,
                           size_t index) {
  const size_t matrices = moments.matrices;
  const size_t rows = moments.rows;
  const size_t columns = moments.columns;
  const auto squared = [&](size_t k) {
    const float g = gradient[k] * gradient_scale;
    return static_cast<double>(g * g + kSmallest);
  };
  for_items(pool_, matrices * rows, [&](size_t row) {
    double sum = 0;
    for (size_t c = 0; c < columns; ++c) sum += squared(row * columns + c);
    float& mean = moments_[index].row[row];
    mean = beta2 * mean + (1 - beta2) * static_cast<float>(sum / static_cast<double>(columns));
  });
  // By blocks of columns, so that rows are read in pieces.
  constexpr size_t kBlock = 64;
  const size_t blocks = (columns + kBlock - 1) / kBlock;
  for_items(pool_, matrices * blocks, [&](size_t item) {
    const size_t matrix = item / blocks;
    const size_t begin = item % blocks * kBlock;
    const size_t end = std::min(columns, begin + kBlock);
    double sums[kBlock] = {};
    for (size_t r = 0; r < rows; ++r)
      for (size_t c = begin; c < end; ++c) sums[c - begin] += squared((matrix * rows + r) * columns + c);
    for (size_t c = begin; c < end; ++c) {
      float& mean = moments_[index].column[matrix * columns + c];
      mean = beta2 * mean + (1 - beta2) * static_cast<float>(sums[c - begin] / static_cast<double>(rows));
    }
  });
}

void Adafactor::update_factored(size_t index, double lr, float gradient_scale, float beta2) {
  const Moments& moments = moments_[index];
  const float* const g = trained_[index].gradient.data();
  take_means(moments, g, gradient_scale, beta2, index);
  const size_t n_rows = moments.row.size();
  factors_.resize(n_rows + moments.column.size());
  for (size_t matrix = 0; matrix < moments.matrices; ++matrix) {
    double mean = 0;
    for (size_t r = 0; r < moments.rows; ++r)
      mean += static_cast<double>(moments.row[matrix * moments.rows + r]);
    mean /= static_cast<double>(moments.rows);
    for (size_t r = matrix * moments.rows; r < (matrix + 1) * moments.rows; ++r)
      factors_[r] = 1 / std::sqrt(moments.row[r] / static_cast<float>(mean));
  }
  for (size_t c = 0; c < moments.column.size(); ++c) factors_[n_rows + c] = 1 / std::sqrt(moments.column[c]);
  for_items(pool_, n_rows, [&](size_t row) {
    const float* const by_column = factors_.data() + n_rows + row / moments.rows * moments.columns;
    for (size_t c = 0; c < moments.columns; ++c) {
      const size_t k = row * moments.columns + c;
      change_[k] = factors_[row] * by_column[c] * (g[k] * gradient_scale);
    }
  });
  step(index, lr);
}

void Adafactor::step(size_t index, double lr) {
  const size_t n = trained_[index].value.size();
  if (n == 0) return;
  for_ranges(pool_, n, [&](size_t begin, size_t end) {
    double sum = 0;
    for (size_t k = begin; k < end; ++k)
      sum += static_cast<double>(change_[k]) * static_cast<double>(change_[k]);
    sums_[begin / kRangeElements] = sum;
  });
  const double rms = std::sqrt(sum_of(std::span(sums_).first(range_count(n))) / static_cast<double>(n));
  const auto rate = static_cast<float>(lr / std::max(1.0, rms / kClipThreshold));
  const auto keep = static_cast<float>(1 - lr * options_.weight_decay);
  float* const p = trained_[index].value.data();
  for_ranges(pool_, n, [&](size_t begin, size_t end) {
    for (size_t k = begin; k < end; ++k) p[k] = p[k] * keep - rate * change_[k];
  });
}

}  // namespace llmhost::train
