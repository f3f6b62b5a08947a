// The decomposition of attention. Heads are [Hkv,G]: head h = kv * G + g reads key/value head kv.
#include "core/error.h"
#include "graph/decompose.h"
#include "graph/emit.h"

namespace llmhost::graph::parts {
namespace {

struct Heads {
  llmh_dim kv;
  llmh_dim group;
  llmh_dim tokens = symbol_dim(LLMH_DIM_TOKENS);
  llmh_dim state = symbol_dim(LLMH_DIM_STATE);
};

// [L, Hkv*D] of the state as [Hkv,1,L,D].
llmh_tensor state_heads(Emit& emit, const Heads& heads, int32_t slot, int32_t part, int64_t dim) {
  auto attrs = make_attrs<llmh_state_attrs>();
  attrs.slot = slot;
  attrs.part = part;
  attrs.width = static_cast<int32_t>(heads.kv.size * dim);
  const llmh_tensor rows = emit.op(LLMH_OP_STATE_READ, {}, attrs);
  const llmh_tensor split = emit.reshape(rows, {heads.state, heads.kv, constant_dim(1), constant_dim(dim)});
  return emit.permute(split, {1, 2, 0, 3});
}

// [H] as [Hkv,G,1,1].
llmh_tensor per_head(Emit& emit, const Heads& heads, llmh_tensor values) {
  return emit.reshape(values, {heads.kv, heads.group, constant_dim(1), constant_dim(1)});
}

// [T,L], or [Hkv,G,T,L] when heads see different keys.
llmh_tensor visibility(Emit& emit, const llmh_attention_attrs& attrs, const Heads& heads) {
  auto mask = make_attrs<llmh_mask_attrs>();
  mask.causal = attrs.causal;
  mask.window = attrs.window;
  mask.chunk = attrs.chunk;
  if (attrs.block_size == 0) return emit.op(LLMH_OP_ATTENTION_MASK, {}, mask);
  mask.n_heads = attrs.n_heads;
  mask.block_size = attrs.block_size;
  mask.local_blocks = attrs.local_blocks;
  mask.vertical_stride = attrs.vertical_stride;
  mask.head_step = attrs.head_step;
  return emit.reshape(emit.op(LLMH_OP_ATTENTION_MASK, {}, mask),
                      {heads.kv, heads.group, heads.tokens, heads.state});
}

llmh_tensor masked_scores(Emit& emit, const CompositeNode& node, const Heads& heads, llmh_tensor scores) {
  const auto& attrs = node.as<llmh_attention_attrs>();
  scores = emit.scale(scores, attrs.scale);
  if (attrs.softcap > 0) {
    auto cap = make_attrs<llmh_scalar_attrs>();
    cap.value = attrs.softcap;
    scores = emit.op(LLMH_OP_SOFTCAP, {scores}, cap);
  }
  if (node.in(3) != LLMH_NO_TENSOR) {
    const llmh_tensor distance = emit.op(LLMH_OP_ATTENTION_DISTANCE, {});
    scores = emit.add(scores, emit.mul(per_head(emit, heads, node.in(3)), distance));
  }
  return emit.add(scores, visibility(emit, attrs, heads));
}

// Softmax over the scores and one more element a head, the sink, whose share is dropped.
llmh_tensor softmax_with_sinks(Emit& emit, const Heads& heads, llmh_tensor scores, llmh_tensor sinks) {
  Dims column = emit.dims(scores);
  column.back() = constant_dim(1);
  const llmh_tensor sink = emit.broadcast(per_head(emit, heads, emit.cast(sinks, LLMH_DTYPE_F32)), column);
  const llmh_tensor both = emit.concat({emit.reduce(LLMH_REDUCE_MAX, scores), sink}, 3);
  const llmh_tensor largest = emit.reduce(LLMH_REDUCE_MAX, both);
  const llmh_tensor terms = emit.unary(LLMH_UNARY_EXP, emit.sub(scores, largest));
  const llmh_tensor sink_term = emit.unary(LLMH_UNARY_EXP, emit.sub(sink, largest));
  return emit.div(terms, emit.add(emit.reduce(LLMH_REDUCE_SUM, terms), sink_term));
}

}  // namespace

Tensors attention(const CompositeNode& node) {
  Emit emit(node.graph, node.path);
  const auto& attrs = node.as<llmh_attention_attrs>();
  // How many keys are kept depends on the row, which no primitive op expresses.
  if (attrs.top_k_ratio != 0)
    throw_error(ErrorCode::kUnimplemented,
                "attention at {}: the backend does not run attention that keeps the largest scores only "
                "(top_k_ratio {})",
                node.path, attrs.top_k_ratio);
  const Heads heads{constant_dim(attrs.n_kv_heads), constant_dim(attrs.n_heads / attrs.n_kv_heads)};
  auto write = make_attrs<llmh_state_attrs>();
  write.slot = attrs.slot;
  const llmh_tensor kv[] = {node.in(1), node.in(2)};
  node.graph.add_node(LLMH_OP_STATE_WRITE, node.path, kv, &write, sizeof(write));

  const llmh_tensor split =
      emit.reshape(node.in(0), {heads.tokens, heads.kv, heads.group, constant_dim(attrs.k_head_dim)});
  const llmh_tensor queries = emit.permute(split, {1, 2, 0, 3});
  const llmh_tensor keys = state_heads(emit, heads, attrs.slot, LLMH_PART_KEYS, attrs.k_head_dim);
  const llmh_tensor scores = masked_scores(emit, node, heads, emit.matmul(queries, keys, true));
  const llmh_tensor shares = node.in(4) != LLMH_NO_TENSOR
                                 ? softmax_with_sinks(emit, heads, scores, node.in(4))
                                 : emit.op(LLMH_OP_SOFTMAX, {scores});
  const llmh_tensor values = state_heads(emit, heads, attrs.slot, LLMH_PART_VALUES, attrs.v_head_dim);
  const llmh_tensor mixed = emit.permute(emit.matmul(shares, values, false), {2, 0, 1, 3});
  return {emit.reshape(mixed, {heads.tokens, constant_dim(int64_t{attrs.n_heads} * attrs.v_head_dim)})};
}

}  // namespace llmhost::graph::parts
