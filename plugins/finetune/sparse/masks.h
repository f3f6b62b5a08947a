// Which entries of a weight are active: by magnitude, N of every M, and moved as RigL does (Evci et al. 2020,
// "Rigging the lottery: Making all tickets winners"). No randomness: of equal scores the lower row-major
// index comes first, that of the file where it holds a weight transposed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sparse {

using Mask = std::vector<uint8_t>;  // 1: active; row-major

// Without the floor(sparsity * n + 1/2) smallest |w|.
Mask magnitude_mask(std::span<const float> weight, double sparsity);

// Of every `group` neighbours in a row the `kept` of largest |w|. A row holds whole groups.
Mask group_mask(std::span<const float> weight, size_t kept, size_t group);

// f = fraction / 2 * (1 + cos(pi t / end)): the part of the active entries that an update at step t moves.
double update_fraction(double fraction, int64_t step, int64_t end);

// The k = floor(f * active) active entries of smallest |w| are dropped; of all that are not kept the k of
// largest |gradient| are active instead, which may be such that were just dropped.
Mask moved_mask(std::span<const float> weight, std::span<const float> gradient, const Mask& mask,
                double fraction);

// Zero wherever the mask is; `values` may be empty.
void clear_inactive(const Mask& mask, std::span<float> values);

}  // namespace sparse
