// Attention: what is seen, how it is weighed, and which heads read which.
#include <cmath>

#include "mutation/changes.h"

namespace llmhost::mutation {
namespace {

using graph::Emit;
using graph::Graph;
using Attrs = llmh_attention_attrs;

void visibility_changes(Changes& changes, const Attrs& attrs, uint32_t index) {
  const auto edit = [&](const char* kind, auto change) {
    changes.push_back(edited<Attrs>(kind, index, change));
  };
  if (attrs.causal != 0) edit("causal dropped", [](Attrs& a) { a.causal = 0; });
  if (attrs.window > 0) {
    edit("window dropped", [](Attrs& a) { a.window = 0; });
    edit("window + 1", [](Attrs& a) { ++a.window; });
    if (attrs.window > 1) edit("window - 1", [](Attrs& a) { --a.window; });
  }
  if (attrs.chunk > 0) {
    edit("chunk dropped", [](Attrs& a) { a.chunk = 0; });
    edit("chunk + 1", [](Attrs& a) { ++a.chunk; });
  }
  if (attrs.block_size > 0) {
    edit("sparse blocks dropped", [](Attrs& a) { a.block_size = 0; });
    edit("local blocks + 1", [](Attrs& a) { ++a.local_blocks; });
    edit("vertical stride + 1", [](Attrs& a) { ++a.vertical_stride; });
    if (attrs.head_step != 0) edit("head step dropped", [](Attrs& a) { a.head_step = 0; });
  }
}

void score_changes(Changes& changes, const Attrs& attrs, uint32_t index) {
  const float usual = 1.0F / std::sqrt(static_cast<float>(attrs.k_head_dim));
  const bool is_usual = std::abs(attrs.scale - usual) < 1e-4F * usual;
  const float other = is_usual ? 2 * usual : usual;
  changes.push_back(edited<Attrs>(is_usual ? "scale doubled" : "scale of its own dropped", index,
                                  [other](Attrs& a) { a.scale = other; }));
  if (attrs.softcap > 0)
    changes.push_back(edited<Attrs>("score cap dropped", index, [](Attrs& a) { a.softcap = 0; }));
}

// The first two key heads change places.
llmh_tensor swapped_heads(Emit& emit, llmh_tensor k, const Attrs& attrs) {
  const int64_t width = attrs.k_head_dim;
  std::vector<llmh_tensor> heads = {emit.slice(k, 1, width, 2 * width), emit.slice(k, 1, 0, width)};
  if (attrs.n_kv_heads > 2) heads.push_back(emit.slice(k, 1, 2 * width, attrs.n_kv_heads * width));
  return emit.concat(heads, 1);
}

}  // namespace

void attention_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  if (node.op != LLMH_OP_ATTENTION) return;
  const Attrs attrs = graph::attrs_of<Attrs>(node);
  visibility_changes(changes, attrs, index);
  score_changes(changes, attrs, index);
  if (graph::input_of(node, 3) != LLMH_NO_TENSOR)
    changes.push_back(without_input("alibi slopes dropped", index, 3));
  if (graph::input_of(node, 4) != LLMH_NO_TENSOR) changes.push_back(without_input("sinks dropped", index, 4));
  if (attrs.n_kv_heads < 2) return;
  changes.push_back(change("key heads swapped", index, [attrs](graph::Rewriter& rewriter, uint32_t at) {
    const llmh_node& old = rewriter.source().node(at);
    auto inputs = rewriter.map(graph::inputs_of(old));
    Emit emit(rewriter.target(), graph::to_view(old.path));
    inputs[1] = swapped_heads(emit, inputs[1], attrs);
    add_instead(rewriter, at, old.op, inputs, old.attrs, old.attrs_size);
  }));
}

}  // namespace llmhost::mutation
