#include "engine/logit_row.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/vectors.h"

namespace llmhost::engine {
namespace {

// Maxima of whole blocks. 0 when every value is finite: x - x is no zero for a NaN or an infinity.
LLMHOST_VECTOR_CLONES uint32_t scan_blocks(const float* values, int64_t n_blocks, float* maxima) {
  Words bad = {};
  for (int64_t block = 0; block < n_blocks; ++block) {
    Floats largest;
    load_lanes(values, largest);
    for (int64_t i = 0; i < LogitRow::kBlock; i += kLanes, values += kLanes) {
      Floats value;
      load_lanes(values, value);
      largest = value > largest ? value : largest;
      bad |= reinterpret_cast<Words>(value - value);
    }
    maxima[block] = largest_lane(largest);
  }
  uint32_t any = 0;
  for (int64_t j = 0; j < kLanes; ++j) any |= bad[j];
  return any;
}

constexpr float kNever = -std::numeric_limits<float>::infinity();

constexpr auto kEmptyBlock = [] {
  std::array<float, LogitRow::kBlock> values{};
  values.fill(kNever);
  return values;
}();

// The maximum of a few values, at least one.
float maximum(std::span<const float> values) {
  return *std::max_element(values.begin(), values.end());
}

}  // namespace

int64_t find_not_finite(std::span<const float> row) {
  const auto found = std::find_if(row.begin(), row.end(), [](float value) { return !std::isfinite(value); });
  return found == row.end() ? -1 : found - row.begin();
}

LogitRow::LogitRow(int64_t vocab_size) {
  const auto n_blocks = static_cast<size_t>((vocab_size + kBlock - 1) / kBlock);
  maxima_.reserve(n_blocks);
  copy_of_.assign(n_blocks, kOriginal);
  edited_.reserve(n_blocks);
  copies_.reserve(n_blocks * kBlock);
}

bool LogitRow::assign(std::span<const float> row) {
  for (const int64_t block : edited_) copy_of_[static_cast<size_t>(block)] = kOriginal;
  edited_.clear();
  copies_.clear();
  row_ = row;
  const int64_t whole = size() / kBlock;
  maxima_.resize(static_cast<size_t>((size() + kBlock - 1) / kBlock));
  uint32_t bad = scan_blocks(row.data(), whole, maxima_.data());
  if (whole < n_blocks()) {
    const std::span<const float> rest = block(whole);
    maxima_.back() = maximum(rest);
    for (const float value : rest) bad |= std::bit_cast<uint32_t>(value - value);
  }
  largest_ = maximum(maxima_);
  return bad == 0;
}

std::span<const float> LogitRow::block(int64_t index) const {
  const int64_t begin = index * kBlock;
  const auto n = static_cast<size_t>(std::min(kBlock, size() - begin));
  const int64_t copy = copy_of_[static_cast<size_t>(index)];
  if (copy == kNothing) return std::span(kEmptyBlock).first(n);
  return copy < 0 ? row_.subspan(static_cast<size_t>(begin), n)
                  : std::span<const float>(copies_).subspan(static_cast<size_t>(copy), n);
}

float& LogitRow::edit(int32_t token) {
  const int64_t index = token / kBlock;
  int64_t& copy = copy_of_[static_cast<size_t>(index)];
  if (copy < 0) {
    const std::span<const float> original = block(index);
    copy = static_cast<int64_t>(copies_.size());
    copies_.insert(copies_.end(), original.begin(), original.end());
    edited_.push_back(index);
  }
  return copies_[static_cast<size_t>(copy + token % kBlock)];
}

void LogitRow::finish_edits() {
  for (const int64_t index : edited_) {
    const std::span<const float> values = block(index);
    float& largest = maxima_[static_cast<size_t>(index)];
    if (values.size() == kBlock)
      scan_blocks(values.data(), 1, &largest);
    else
      largest = maximum(values);
  }
  largest_ = maximum(maxima_);
}

void LogitRow::keep_only(std::span<const uint64_t> mask) {
  constexpr size_t kWords = kBlock / 64;
  for (int64_t index = 0; index < n_blocks(); ++index) {
    const size_t first = static_cast<size_t>(index) * kWords;
    const std::span<const uint64_t> words = mask.subspan(first, std::min(kWords, mask.size() - first));
    const size_t n = block(index).size();
    size_t kept = 0;
    for (const uint64_t word : words) kept += static_cast<size_t>(std::popcount(word));
    if (kept >= n) continue;
    float& largest = maxima_[static_cast<size_t>(index)];
    if (kept == 0) {
      int64_t& copy = copy_of_[static_cast<size_t>(index)];
      if (copy < 0) edited_.push_back(index);
      copy = kNothing;
      largest = kNever;
      continue;
    }
    float* const values = &edit(static_cast<int32_t>(index * kBlock));
    for (size_t i = 0; i < n; ++i)
      if ((words[i / 64] >> (i % 64) & 1) == 0) values[i] = kNever;
    largest = maximum(std::span(values, n));
  }
  largest_ = maximum(maxima_);
}

int32_t LogitRow::argmax() const {
  const int64_t index = std::find(maxima_.begin(), maxima_.end(), largest_) - maxima_.begin();
  const std::span<const float> values = block(index);
  return static_cast<int32_t>(index * kBlock +
                              (std::find(values.begin(), values.end(), largest_) - values.begin()));
}

}  // namespace llmhost::engine
