#include "masks.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace sparse {
namespace {

// The first `count` of the indices become those of largest |score|. Their order does not matter, which they
// are does.
void select_largest(std::vector<uint32_t>& indices, size_t count, std::span<const float> scores) {
  if (count >= indices.size()) return;
  const auto is_before = [scores](uint32_t a, uint32_t b) {
    const float x = std::abs(scores[a]);
    const float y = std::abs(scores[b]);
    return x > y || (x == y && a < b);
  };
  std::nth_element(indices.begin(), indices.begin() + static_cast<std::ptrdiff_t>(count), indices.end(),
                   is_before);
}

std::vector<uint32_t> indices_where(const Mask& mask, uint8_t value) {
  std::vector<uint32_t> indices;
  for (uint32_t i = 0; i < mask.size(); ++i)
    if (mask[i] == value) indices.push_back(i);
  return indices;
}

void activate(Mask& mask, const std::vector<uint32_t>& indices, size_t count) {
  for (size_t i = 0; i < count; ++i) mask[indices[i]] = 1;
}

}  // namespace

Mask magnitude_mask(std::span<const float> weight, double sparsity) {
  const auto n_pruned = static_cast<size_t>(std::floor(sparsity * static_cast<double>(weight.size()) + 0.5));
  const size_t n_kept = weight.size() - std::min(weight.size(), n_pruned);
  Mask mask(weight.size(), 0);
  std::vector<uint32_t> indices(weight.size());
  std::iota(indices.begin(), indices.end(), 0U);
  select_largest(indices, n_kept, weight);
  activate(mask, indices, n_kept);
  return mask;
}

Mask group_mask(std::span<const float> weight, size_t kept, size_t group) {
  Mask mask(weight.size(), 0);
  std::vector<uint32_t> indices(group);
  for (size_t begin = 0; begin + group <= weight.size(); begin += group) {
    std::iota(indices.begin(), indices.end(), static_cast<uint32_t>(begin));
    select_largest(indices, kept, weight);
    activate(mask, indices, kept);
  }
  return mask;
}

double update_fraction(double fraction, int64_t step, int64_t end) {
  return fraction / 2 *
         (1 + std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(end)));
}

Mask moved_mask(std::span<const float> weight, std::span<const float> gradient, const Mask& mask,
                double fraction) {
  std::vector<uint32_t> active = indices_where(mask, 1);
  const auto n_moved = static_cast<size_t>(std::floor(fraction * static_cast<double>(active.size())));
  const size_t n_kept = active.size() - std::min(active.size(), n_moved);
  select_largest(active, n_kept, weight);
  Mask moved(mask.size(), 0);
  activate(moved, active, n_kept);
  std::vector<uint32_t> others = indices_where(moved, 0);
  select_largest(others, n_moved, gradient);
  activate(moved, others, std::min(n_moved, others.size()));
  return moved;
}

void clear_inactive(const Mask& mask, std::span<float> values) {
  for (size_t i = 0; i < values.size(); ++i)
    if (mask[i] == 0) values[i] = 0;
}

}  // namespace sparse
