// Multi-head latent attention: keys and values made from a narrow latent vector, rotary positions on a part of the head
// that all heads share. (DeepSeek-AI 2024) Header-only. [control]
#pragma once

#include "llmhost/decoder/attention.hpp"

namespace llmh {

struct LatentAttentionConfig {
  AttentionConfig attention;     // n_heads = n_kv_heads; head_dim and v_head_dim as below give them
  int64_t q_lora_rank = 0;       // width of the queries' latent vector; 0: q_proj makes them directly
  int64_t kv_lora_rank = 0;      // width of the latent vector of keys and values
  int64_t qk_nope_head_dim = 0;  // elements of a head without position
  int64_t qk_rope_head_dim = 0;  // elements of a head that are rotated, behind those
  NormConfig norm;               // of the latent vectors
  Bias bias = Bias::kNone;       // of the projections to the latent vectors and of o_proj
  int32_t rope_style = LLMH_ROPE_INTERLEAVED;
  bool split_kv = false;  // k_b_proj and v_b_proj, one matrix a head, in place of kv_b_proj
  float q_scale = 1.0F;   // of the queries
  float kv_scale = 1.0F;  // of the normalised latent vector of keys and values
};

namespace detail {

// One matrix a head: latent [T, K], `<at>.<name>.weight` [n_heads, width, K] -> [T, n_heads, width].
inline Tensor by_head(const Scope& at, std::string_view name, Tensor latent, int64_t n_heads, int64_t width) {
  const std::vector<llmh_dim> dims = dims_of(latent);
  const Tensor rows = reshape(latent, {fixed_dim(1), dims[0], dims[1]});
  const Tensor weight = at.scope(name).weight("weight", {n_heads, width, latent.width()});
  auto plain = make_attrs<llmh_cast_attrs>();
  plain.dtype = LLMH_DTYPE_F32;
  const Tensor decoded = at.graph().root().op(LLMH_OP_CAST, {weight}, plain);
  auto attrs = make_attrs<llmh_permute_attrs>();
  attrs.rank = 3;
  attrs.axes[0] = 1;
  attrs.axes[1] = 0;
  attrs.axes[2] = 2;
  return at.graph().root().op(LLMH_OP_PERMUTE, {matmul(rows, decoded, true)}, attrs);
}

}  // namespace detail

// x [T, D] -> [T, D]; modules q_a_proj, q_a_layernorm, q_b_proj (or q_proj), kv_a_proj_with_mqa, kv_a_layernorm, kv_b_proj
// and o_proj below `at`. The state holds whole keys and values, of n_heads heads.
inline Tensor latent_attention(const Scope& at, Tensor x, const LatentAttentionConfig& c, const RopeAngles& angles) {
  const int64_t n_heads = c.attention.n_heads;
  const int64_t nope = c.qk_nope_head_dim;
  const int64_t rope = c.qk_rope_head_dim;
  const int64_t v_dim = c.attention.v_head_dim;
  Tensor q_in = x;
  if (c.q_lora_rank != 0) q_in = norm(at, "q_a_layernorm", at.linear("q_a_proj", x, c.q_lora_rank, c.bias), c.norm);
  Tensor q = at.linear(c.q_lora_rank != 0 ? "q_b_proj" : "q_proj", q_in, n_heads * (nope + rope));
  if (c.q_scale != 1.0F) q = scale(q, c.q_scale);
  q = split_last(q, {n_heads, nope + rope});
  const Tensor q_rotated = rotate(merge_last(slice(q, nope, nope + rope)), angles, n_heads, rope, c.rope_style);

  const Tensor compressed = at.linear("kv_a_proj_with_mqa", x, c.kv_lora_rank + rope, c.bias);
  const Tensor k_rotated =
      rotate(slice(compressed, c.kv_lora_rank, c.kv_lora_rank + rope), angles, 1, rope, c.rope_style);
  Tensor latent = norm(at, "kv_a_layernorm", slice(compressed, 0, c.kv_lora_rank), c.norm);
  if (c.kv_scale != 1.0F) latent = scale(latent, c.kv_scale);
  Tensor k_plain;  // [T, n_heads, nope]
  Tensor v;        // [T, n_heads, v_dim]
  if (c.split_kv) {
    k_plain = detail::by_head(at, "k_b_proj", latent, n_heads, nope);
    v = detail::by_head(at, "v_b_proj", latent, n_heads, v_dim);
  } else {
    const Tensor kv = split_last(at.linear("kv_b_proj", latent, n_heads * (nope + v_dim)), {n_heads, nope + v_dim});
    k_plain = slice(kv, 0, nope);
    v = slice(kv, nope, nope + v_dim);
  }

  Qkv qkv;
  qkv.q = merge_last(concat({slice(q, 0, nope), split_last(q_rotated, {n_heads, rope})}));
  qkv.k = merge_last(concat({k_plain, stretch(split_last(k_rotated, {1, rope}), n_heads, -2)}));
  qkv.v = merge_last(v);
  return at.linear("o_proj", attend(at, qkv, c.attention), x.width(), c.bias);
}

}  // namespace llmh
