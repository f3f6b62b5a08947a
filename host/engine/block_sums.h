// The sums of exp((row - largest) * inverse_temperature) over the blocks of a row, each either known or,
// where it is small, only bounded: between 0 and kBlock times the weight of the block's maximum. A bounded
// block's values are not read. Additions in floating point are monotone, so whatever is concluded from both
// bounds of all sums, added in the order of the blocks, is what the sums themselves, complete(), lead to:
// bits and all.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/logit_row.h"

namespace llmhost::engine {

class BlockSums {
 public:
  // What all bounded blocks together may weigh, of the total.
  static constexpr float kBoundedShare = 1.0F / 16;

  // Room for rows of this size; nothing is allocated afterwards.
  explicit BlockSums(int64_t vocab_size);

  // The row must stay while it is used.
  void assign(const LogitRow& row, float inverse_temperature);
  // Sums the blocks that are only bounded.
  void complete();
  // Makes a block's sum smaller; all must be known.
  void take_off(int64_t block, double weight);

  bool is_exact() const { return n_bounded_ == 0; }
  int64_t n_bounded() const { return n_bounded_; }
  double least(int64_t block) const { return static_cast<double>(least_[static_cast<size_t>(block)]); }
  double most(int64_t block) const { return static_cast<double>(most_[static_cast<size_t>(block)]); }
  // Of all blocks' sums as assigned, in double.
  double least_total() const { return least_total_; }
  double most_total() const { return most_total_; }

 private:
  void bound_by_maxima();
  void sum_block(int64_t block);
  void add_up();

  const LogitRow* row_ = nullptr;
  float inverse_temperature_ = 1;
  std::vector<float> least_;  // [blocks]
  std::vector<float> most_;
  int64_t n_bounded_ = 0;
  double least_total_ = 0;
  double most_total_ = 0;
};

}  // namespace llmhost::engine
