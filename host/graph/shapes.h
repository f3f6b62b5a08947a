// The rules by which an op's inputs give its outputs' shapes and dtypes; one function an op or a family of
// ops, grouped in files by family. Each throws through NodeView::fail.
#pragma once

#include <vector>

#include "graph/op_registry.h"

namespace llmhost::graph::shapes {

using Types = std::vector<TensorType>;

// Composite ops (shapes_composite.cpp).
Types embedding(const NodeView& node);
Types linear(const NodeView& node);
Types norm(const NodeView& node);
Types add_norm(const NodeView& node);
Types rope(const NodeView& node);
Types attention(const NodeView& node);
Types activation(const NodeView& node);
Types gated_activation(const NodeView& node);
Types softcap(const NodeView& node);
Types like_input(const NodeView& node);
Types expert_linear(const NodeView& node);
Types lora_linear(const NodeView& node);
Types lora_embedding(const NodeView& node);

// Primitive arithmetic (shapes_arithmetic.cpp).
Types binary(const NodeView& node);
Types unary(const NodeView& node);
Types clamp(const NodeView& node);
Types reduce(const NodeView& node);
Types matmul(const NodeView& node);
Types rope_angles(const NodeView& node);

// Primitive data movement (shapes_movement.cpp).
Types reshape(const NodeView& node);
Types permute(const NodeView& node);
Types slice(const NodeView& node);
Types concat(const NodeView& node);
Types broadcast(const NodeView& node);
Types gather(const NodeView& node);
Types cast(const NodeView& node);

// State and masks (shapes_movement.cpp).
Types state_write(const NodeView& node);
Types state_read(const NodeView& node);
Types mask(const NodeView& node);
Types distance(const NodeView& node);

// Selection along the last dimension (shapes_movement.cpp).
Types top_k(const NodeView& node);
Types take(const NodeView& node);

// Training (shapes_training.cpp, shapes_gradients.cpp).
Types reduce_to(const NodeView& node);
Types pad(const NodeView& node);
Types scatter_add(const NodeView& node);
Types scatter_last(const NodeView& node);
Types dropout(const NodeView& node);
Types low_rank_row_norms(const NodeView& node);
Types accumulate(const NodeView& node);
Types cross_entropy(const NodeView& node);
Types cross_entropy_grad(const NodeView& node);
Types linear_cross_entropy(const NodeView& node);
Types attention_train(const NodeView& node);
Types attention_grad(const NodeView& node);
Types linear_input_grad(const NodeView& node);
Types linear_weight_grad(const NodeView& node);
Types expert_linear_input_grad(const NodeView& node);
Types expert_linear_weight_grad(const NodeView& node);
Types norm_grad(const NodeView& node);
Types norm_weight_grad(const NodeView& node);
Types activation_grad(const NodeView& node);
Types gated_activation_grad(const NodeView& node);
Types softmax_grad(const NodeView& node);

// Helpers.
// What a query may see beside its sequence; the fields of llmh_attention_attrs and llmh_mask_attrs.
template <typename Attrs>
void check_visibility(const NodeView& node, const Attrs& attrs) {
  if (attrs.window < 0) node.fail("window is {}", attrs.window);
  if (attrs.chunk < 0) node.fail("chunk is {}", attrs.chunk);
  if (attrs.block_size < 0) node.fail("block_size is {}", attrs.block_size);
  if (attrs.block_size == 0) return;
  if (attrs.local_blocks < 0) node.fail("local_blocks is {}", attrs.local_blocks);
  if (attrs.vertical_stride < 1)
    node.fail("vertical_stride is {}, sparse blocks need 1 or more", attrs.vertical_stride);
  if (attrs.head_step < 0) node.fail("head_step is {}", attrs.head_step);
}
void want_float(const NodeView& node, size_t index);      // f32, f16, bf16, f64
void want_decodable(const NodeView& node, size_t index);  // floating or stored in blocks
void want_plain(const NodeView& node, size_t index);      // not stored in blocks
void want_rank_from(const NodeView& node, size_t index, size_t least);
void want_vector(const NodeView& node, size_t index, const llmh_dim& size);  // [size], floating
void want_like(const NodeView& node, size_t index,
               std::span<const llmh_dim> dims);                                     // of these dims, floating
void want_ids(const NodeView& node, size_t index, std::span<const llmh_dim> dims);  // i32 of these dims
void check_activation_kind(const NodeView& node);
Dims checked_dims(const NodeView& node, const llmh_shape_attrs& attrs);
size_t checked_axis(const NodeView& node, int32_t axis, const Dims& dims);
void want_constant_axis(const NodeView& node, const Dims& dims, size_t axis);
// Both shapes stretched over each other as numpy does.
Dims broadcast_dims(const NodeView& node, std::span<const llmh_dim> a, std::span<const llmh_dim> b);

}  // namespace llmhost::graph::shapes
