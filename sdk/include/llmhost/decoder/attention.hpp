// Causal self-attention of decoder models: projections, heads, the op. Header-only. [control]
#pragma once

#include <cmath>
#include <string_view>

#include "llmhost/decoder/norm.hpp"
#include "llmhost/decoder/rope.hpp"
#include "llmhost/tensor_ops.hpp"

namespace llmh {

// One layer's attention. The state that it names is declared by describe() (States::paged_kv) with the same numbers.
struct AttentionConfig {
  int64_t layer = 0;            // from 0; also the state slot
  int64_t n_heads = 0;          // of queries
  int64_t n_kv_heads = 0;       // of keys and values; divides n_heads
  int64_t head_dim = 0;         // elements of a head of q, k and, unless v_head_dim says otherwise, v
  int64_t v_head_dim = 0;       // elements of a head of v and of the result; 0: head_dim
  Bias qkv_bias = Bias::kNone;  // of the projections of q, k and v
  Bias out_bias = Bias::kNone;  // of o_proj
  float scale = 0.0F;           // multiplies q k^T; 0: 1 / sqrt(head_dim)
  float softcap = 0.0F;         // cap * tanh(score / cap) of the scores; 0: none
  int64_t window = 0;           // positions that a query sees, its own included; 0: all
  int64_t chunk = 0;            // a query sees its own chunk of so many positions, up to itself; 0: no chunks
  // Block-sparse, see llmh_attention_attrs; block_size 0: not.
  int64_t block_size = 0;
  int64_t local_blocks = 0;
  int64_t vertical_stride = 0;
  int64_t head_step = 0;
};

// Projected queries, keys and values: q [T, n_heads * head_dim], k and v [T, n_kv_heads * head_dim].
struct Qkv {
  Tensor q, k, v;
};

namespace detail {

inline llmh_attention_attrs attention_attrs(const AttentionConfig& c) {
  auto attrs = make_attrs<llmh_attention_attrs>();
  attrs.slot = static_cast<int32_t>(c.layer);
  attrs.n_heads = static_cast<int32_t>(c.n_heads);
  attrs.n_kv_heads = static_cast<int32_t>(c.n_kv_heads);
  attrs.k_head_dim = static_cast<int32_t>(c.head_dim);
  attrs.v_head_dim = static_cast<int32_t>(c.v_head_dim != 0 ? c.v_head_dim : c.head_dim);
  attrs.scale = c.scale != 0.0F ? c.scale : 1.0F / std::sqrt(static_cast<float>(c.head_dim));
  attrs.softcap = c.softcap;
  attrs.causal = 1;
  attrs.window = static_cast<int32_t>(c.window);
  attrs.chunk = static_cast<int32_t>(c.chunk);
  attrs.block_size = static_cast<int32_t>(c.block_size);
  attrs.local_blocks = static_cast<int32_t>(c.local_blocks);
  attrs.vertical_stride = static_cast<int32_t>(c.vertical_stride);
  attrs.head_step = static_cast<int32_t>(c.head_step);
  return attrs;
}

}  // namespace detail

// What some models add to the scores. Both absent: nothing.
struct AttentionExtras {
  Tensor alibi_slopes;  // f32 [n_heads]: slope * (key position - query position) is added to each score
  Tensor sinks;         // f32 [n_heads]: a score that takes part in the softmax and has no value
};

// Causal attention of already projected and rotated q, k and v -> [T, n_heads * v_head_dim]. Appends k and v to the
// layer's state. `at` gives the node its path.
inline Tensor attend(const Scope& at, const Qkv& qkv, const AttentionConfig& c, const AttentionExtras& extras = {}) {
  return at.op(LLMH_OP_ATTENTION, {qkv.q, qkv.k, qkv.v, extras.alibi_slopes, extras.sinks}, detail::attention_attrs(c));
}

// q_proj, k_proj and v_proj below `at`.
inline Qkv project_qkv(const Scope& at, Tensor x, const AttentionConfig& c) {
  const int64_t v_head_dim = c.v_head_dim != 0 ? c.v_head_dim : c.head_dim;
  return {at.linear("q_proj", x, c.n_heads * c.head_dim, c.qkv_bias),
          at.linear("k_proj", x, c.n_kv_heads * c.head_dim, c.qkv_bias),
          at.linear("v_proj", x, c.n_kv_heads * v_head_dim, c.qkv_bias)};
}

// How a fused projection orders its rows.
enum class QkvOrder {
  kContiguous,  // all of q, then all of k, then all of v
  kGrouped      // for each key/value head: its queries, its key, its value
};

// The parts of a fused projection's result [T, (n_heads + 2 n_kv_heads) * head_dim].
inline Qkv split_qkv(Tensor fused, QkvOrder order, const AttentionConfig& c) {
  const int64_t dim = c.head_dim;
  if (order == QkvOrder::kContiguous) {
    const int64_t q = c.n_heads * dim;
    const int64_t k = c.n_kv_heads * dim;
    return {slice(fused, 0, q), slice(fused, q, q + k), slice(fused, q + k, q + 2 * k)};
  }
  const int64_t group = c.n_heads / c.n_kv_heads;
  const Tensor groups = split_last(fused, {c.n_kv_heads, (group + 2) * dim});
  return {merge_last(slice(groups, 0, group * dim)), merge_last(slice(groups, group * dim, (group + 1) * dim)),
          merge_last(slice(groups, (group + 1) * dim, (group + 2) * dim))};
}

// One linear `<at>.<name>` that makes all three.
inline Qkv project_fused_qkv(const Scope& at, std::string_view name, Tensor x, QkvOrder order,
                             const AttentionConfig& c) {
  const int64_t width = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
  return split_qkv(at.linear(name, x, width, c.qkv_bias), order, c);
}

// Queries and keys rotated; `style` is LLMH_ROPE_*.
inline Qkv rotate_qk(Qkv qkv, const RopeAngles& angles, const AttentionConfig& c, int32_t style = LLMH_ROPE_HALVES) {
  qkv.q = rotate(qkv.q, angles, c.n_heads, c.head_dim, style);
  qkv.k = rotate(qkv.k, angles, c.n_kv_heads, c.head_dim, style);
  return qkv;
}

// Queries and keys normalised head by head, by `<at>.<q_name>` and `<at>.<k_name>`.
inline Qkv norm_qk(const Scope& at, Qkv qkv, const NormConfig& norm, const AttentionConfig& c,
                   std::string_view q_name = "q_norm", std::string_view k_name = "k_norm") {
  qkv.q = head_norm(at, q_name, qkv.q, c.n_heads, norm);
  qkv.k = head_norm(at, k_name, qkv.k, c.n_kv_heads, norm);
  return qkv;
}

// q_proj, k_proj, v_proj, rotation, attention, o_proj, under those names below `at`. x [T, D] -> [T, D]. Models that put
// something between (norms of q and k, scales) write these lines themselves.
inline Tensor self_attention(const Scope& at, Tensor x, const AttentionConfig& c, const RopeAngles& angles) {
  const Qkv qkv = rotate_qk(project_qkv(at, x, c), angles, c);
  return at.linear("o_proj", attend(at, qkv, c), x.width(), c.out_bias);
}

}  // namespace llmh
