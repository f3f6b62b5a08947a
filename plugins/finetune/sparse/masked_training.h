// Training of weights of which only some entries are active: the masks between the steps.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llmhost/finetune.hpp"
#include "masks.h"

namespace sparse {

struct MaskOptions {
  double sparsity = 0;  // part of the entries that are zero; 0: no masks at all
  int64_t kept = 0;     // N of M; 0: wherever they are
  int64_t group = 0;
  bool moves = false;    // RigL
  int64_t interval = 0;  // steps between updates of the masks
  double fraction = 0;
  int64_t end = 0;  // no update from this step on; 0: three quarters of the job's steps
};

// N and M of "N:M"; 0 and 0 of "unstructured". Throws llmh::Error.
void parse_type(const std::string& text, MaskOptions& options);

// The masks of all trained matrices, in their order.
class MaskedTraining {
 public:
  explicit MaskedTraining(const MaskOptions& options) : options_(options) {}

  // Weights [N,K] whose files hold [K,N]: equal scores come in the order of the file.
  void set_transposed(std::set<std::string, std::less<>> names) { transposed_ = std::move(names); }
  void start(std::span<const llmh::TunedTensor> tensors);
  // Masks gradients; at an update moves masks, weights and moments and gives false.
  bool before_update(const llmh_step_info& step, std::span<const llmh::TunedTensor> tensors);
  void after_update(std::span<const llmh::TunedTensor> tensors);

  std::string state() const;
  void set_state(std::string_view state);

 private:
  void check(std::span<const llmh::TunedTensor> tensors) const;
  void move(const llmh_step_info& step, int64_t end, const llmh::TunedTensor& tensor, Mask& mask);
  Mask first_mask(const llmh::TunedTensor& tensor) const;
  Mask next_mask(const llmh::TunedTensor& tensor, const Mask& mask, double fraction) const;

  MaskOptions options_;
  std::set<std::string, std::less<>> transposed_;
  std::vector<Mask> masks_;  // empty of a tensor that is no matrix
};

}  // namespace sparse
