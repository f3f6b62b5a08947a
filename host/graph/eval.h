// What the evaluators of single primitive ops share; see reference.h. Each file eval_*.cpp has one family.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "graph/graph.h"
#include "graph/reference.h"

namespace llmhost::graph::eval {

using Sizes = std::vector<int64_t>;

// The elements of a tensor; null when there are none.
void* data_of(const Evaluation& evaluation, llmh_tensor tensor);

// A dense tensor in memory.
struct Operand {
  llmh_dtype dtype = LLMH_DTYPE_F32;
  Sizes sizes;
  int64_t count = 0;  // elements
  std::byte* data = nullptr;
};

// The elements of an operand as f32: its own memory, or decoded.
class Floats {
 public:
  explicit Floats(const Operand& operand);
  const float* data() const { return data_; }
  float operator[](int64_t i) const { return data_[i]; }

 private:
  std::vector<float> decoded_;
  const float* data_;
};

// One node with its operands found and their symbols filled in.
class NodeCall {
 public:
  NodeCall(const Evaluation& evaluation, uint32_t node);

  const llmh_step& step() const { return evaluation_.step; }
  const llmh_node& node() const { return node_; }
  template <typename Attrs>
  const Attrs& as() const {
    return attrs_of<Attrs>(node_);
  }
  bool has(uint32_t index) const { return input_of(node_, index) != LLMH_NO_TENSOR; }
  const Operand& in(uint32_t index) const { return inputs_[index]; }
  int32_t row_symbol(uint32_t index) const;  // of an input's first dimension
  const Operand& out(uint32_t index = 0) const { return outputs_[index]; }
  float* out_floats(uint32_t index = 0) const { return reinterpret_cast<float*>(outputs_[index].data); }

  // The state of a slot in the evaluator's layout.
  struct State {
    const llmh_state_view* view;
    std::byte* pages;
  };
  State state(int32_t slot) const;
  // Where the row of one part of one position lies; null for a position whose page was given back.
  float* state_row(const State& state, int32_t sequence, int64_t position, int32_t part, int64_t width) const;

  [[noreturn]] void fail(ErrorCode code, const std::string& message) const;

 private:
  Operand operand(llmh_tensor tensor) const;

  const Evaluation& evaluation_;
  const llmh_node& node_;
  std::vector<Operand> inputs_;
  std::vector<Operand> outputs_;
};

// Strides in elements of a dense tensor; 0 along a dimension of 1 that is stretched to `result`.
Sizes strides_over(const Sizes& sizes, const Sizes& result);
int64_t product(std::span<const int64_t> sizes);

// Calls body(i, offset) for every index of `sizes` in order, i counting up and offset following `strides`.
template <typename Body>
void for_each_index(const Sizes& sizes, const Sizes& strides, Body&& body) {
  const int64_t count = product(sizes);
  Sizes index(sizes.size(), 0);
  int64_t offset = 0;
  for (int64_t i = 0; i < count; ++i) {
    body(i, offset);
    for (size_t d = sizes.size(); d-- > 0;) {
      offset += strides[d];
      if (++index[d] < sizes[d]) break;
      offset -= strides[d] * sizes[d];
      index[d] = 0;
    }
  }
}

// Whether a query's position sees a key's in this head, both of one sequence; attributes are those of masks
// or of attention.
template <typename Attrs>
bool is_visible(const Attrs& attrs, int64_t query, int64_t key, int64_t head) {
  if (attrs.causal != 0 && key > query) return false;
  if (attrs.window != 0 && key <= query - attrs.window) return false;
  if (attrs.chunk != 0 && key < query / attrs.chunk * attrs.chunk) return false;
  if (attrs.block_size == 0) return true;
  const int64_t key_block = key / attrs.block_size;
  return query / attrs.block_size - key_block < attrs.local_blocks ||
         (key_block + head * attrs.head_step + 1) % attrs.vertical_stride == 0;
}

// Stores two inputs, from `first` on, as keys and values of the step's tokens.
void write_state(const NodeCall& call, int32_t slot, uint32_t first);

void binary(const NodeCall& call);
void unary(const NodeCall& call);
void clamp(const NodeCall& call);
void reduce(const NodeCall& call);
void matmul(const NodeCall& call);
void rope_angles(const NodeCall& call);
void reshape(const NodeCall& call);
void permute(const NodeCall& call);
void slice(const NodeCall& call);
void concat(const NodeCall& call);
void broadcast(const NodeCall& call);
void gather(const NodeCall& call);
void cast(const NodeCall& call);
void state_write(const NodeCall& call);
void state_read(const NodeCall& call);
void attention_mask(const NodeCall& call);
void attention_distance(const NodeCall& call);
void top_k(const NodeCall& call);
void top_k_mask(const NodeCall& call);
void take(const NodeCall& call);

// Training; sums in double (eval_training*.cpp, eval_attention.cpp).
void reduce_to(const NodeCall& call);
void pad(const NodeCall& call);
void scatter_add(const NodeCall& call);
void scatter_last(const NodeCall& call);
void detach(const NodeCall& call);
void dropout(const NodeCall& call);
void low_rank_row_norms(const NodeCall& call);
void accumulate(const NodeCall& call);
void cross_entropy(const NodeCall& call);
void cross_entropy_grad(const NodeCall& call);
void linear_cross_entropy(const NodeCall& call);
void linear_weight_grad(const NodeCall& call);
void expert_linear_input_grad(const NodeCall& call);
void expert_linear_weight_grad(const NodeCall& call);
void attention_train(const NodeCall& call);
void attention_grad(const NodeCall& call);
// ATTENTION that keeps some keys only, which has no parts.
void attention_top_k(const NodeCall& call);

// The rows of a site that belong to adapters, again; its outputs are already those of the base
// (eval_adapters.cpp).
void adapt_linear(const NodeCall& call);
void adapt_embedding(const NodeCall& call);
void adapt_norm(const NodeCall& call);

}  // namespace llmhost::graph::eval
