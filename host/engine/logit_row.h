// One row of logits as sampling sees it: some entries changed by biases and penalties, without a copy of the
// rest, and the maximum of every block, which most questions start from. The row is read once. Same bits on
// every machine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmhost::engine {

class LogitRow {
 public:
  static constexpr int64_t kBlock = 256;

  // Room for rows of this size; nothing is allocated afterwards.
  explicit LogitRow(int64_t vocab_size);

  // Takes a row, which must stay while it is used. False when it holds a NaN or an infinity.
  bool assign(std::span<const float> row);

  // A value to change, followed by finish_edits() when all are.
  float& edit(int32_t token);
  void finish_edits();
  // Makes the values of all other tokens -infinity; bit t % 64 of word t / 64 keeps token t. After the edits.
  void keep_only(std::span<const uint64_t> mask);

  int64_t size() const { return static_cast<int64_t>(row_.size()); }
  int64_t n_blocks() const { return static_cast<int64_t>(maxima_.size()); }
  // The values of tokens [index * kBlock, ...).
  std::span<const float> block(int64_t index) const;
  std::span<const float> block_maxima() const { return maxima_; }
  float operator[](int32_t token) const { return block(token / kBlock)[static_cast<size_t>(token % kBlock)]; }

  float largest() const { return largest_; }
  int32_t argmax() const;  // the lowest of equals

 private:
  static constexpr int64_t kOriginal = -1;
  static constexpr int64_t kNothing = -2;  // all values are -infinity

  std::span<const float> row_;
  std::vector<float> maxima_;  // [n_blocks]
  float largest_ = 0;
  std::vector<int64_t> copy_of_;  // [n_blocks] where in copies_ an edited block is, or a negative mark
  std::vector<int64_t> edited_;   // those blocks
  std::vector<float> copies_;
};

// The first index whose value is NaN or infinite, or -1.
int64_t find_not_finite(std::span<const float> row);

}  // namespace llmhost::engine
