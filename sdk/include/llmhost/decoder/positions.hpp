// Positions that are not rotary: learned and sinusoidal embeddings, ALiBi. Header-only. [control]
#pragma once

#include <cmath>
#include <string_view>
#include <vector>

#include "llmhost/tensor_ops.hpp"

namespace llmh {

// Rows of the learned table `<at>.<name>.weight` [n_positions, width] by position -> [T, width]. Checkpoints that keep rows
// in front of position 0 map the rest of them (llmh::rows).
inline Tensor learned_positions(const Scope& at, std::string_view name, int64_t n_positions, int64_t width) {
  return at.embedding(name, at.graph().input(LLMH_INPUT_POSITIONS), n_positions, width);
}

// Sines in the first half, cosines in the second, of position times 10000^(-i / (width / 2 - 1)): f32 [T, width]; with
// `whole` of position times 10000^(-i / (width / 2)). `first` is the number that stands for position 0. (Vaswani et al.
// 2017, as fairseq and tensor2tensor lay it out)
inline Tensor sinusoidal_positions(Graph& graph, int64_t n_positions, int64_t width, int64_t first = 0,
                                   bool whole = false) {
  const int64_t half = width / 2;
  std::vector<float> table(static_cast<size_t>(n_positions * width), 0.0F);
  const double step = std::log(10000.0) / static_cast<double>(whole ? half : half - 1);
  for (int64_t p = 0; p < n_positions; ++p)
    for (int64_t i = 0; i < half; ++i) {
      const auto frequency = static_cast<float>(std::exp(-step * static_cast<double>(i)));
      const float angle = static_cast<float>(p + first) * frequency;
      table[static_cast<size_t>(p * width + i)] = std::sin(angle);
      table[static_cast<size_t>(p * width + half + i)] = std::cos(angle);
    }
  return gather_rows(graph.constant("position_table", {n_positions, width}, table), graph.input(LLMH_INPUT_POSITIONS));
}

// The slopes of attention with linear biases, f32 [n_heads]: 2^(-max_bias (h + 1) / n), and for a number of heads that is
// no power of two those of the next lower one followed by every other one of the next higher. (Press et al. 2021)
inline std::vector<float> alibi_slopes(int64_t n_heads, float max_bias = 8.0F) {
  int64_t power = 1;
  while (power * 2 <= n_heads) power *= 2;
  std::vector<float> slopes;
  for (int64_t h = 1; h <= power; ++h)
    slopes.push_back(std::exp2(-max_bias * static_cast<float>(h) / static_cast<float>(power)));
  for (int64_t h = 1; static_cast<int64_t>(slopes.size()) < n_heads; h += 2)
    slopes.push_back(std::exp2(-max_bias * static_cast<float>(h) / static_cast<float>(2 * power)));
  return slopes;
}

}  // namespace llmh
