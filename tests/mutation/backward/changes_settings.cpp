// Attributes of a node.
#include <cstring>

#include "changes.h"

namespace llmhost::mutation {
namespace {

using graph::attrs_of;

template <typename Attrs>
void add(const llmh_node& node, const std::string& name, std::vector<Change>& changes,
         const std::function<void(Attrs&)>& set) {
  Attrs attrs = attrs_of<Attrs>(node);
  set(attrs);
  if (std::memcmp(&attrs, node.attrs, sizeof attrs) == 0) return;
  changes.push_back({name, [attrs](const Place& place) {
                       return place.emit.node(place.node.op, place.inputs, &attrs, sizeof attrs);
                     }});
}

void add_norm(const llmh_node& node, std::vector<Change>& changes) {
  add<llmh_norm_attrs>(node, "eps forgotten", changes, [](auto& attrs) { attrs.eps = 0; });
  if (graph::input_of(node, 1) == LLMH_NO_TENSOR) return;
  add<llmh_norm_attrs>(node, "other weight offset", changes,
                       [](auto& attrs) { attrs.weight_offset = 1 - attrs.weight_offset; });
}

void add_attention(const llmh_node& node, std::vector<Change>& changes) {
  using Attrs = llmh_attention_attrs;
  add<Attrs>(node, "scale forgotten", changes, [](auto& attrs) { attrs.scale = 1; });
  add<Attrs>(node, "softcap forgotten", changes, [](auto& attrs) { attrs.softcap = 0; });
  add<Attrs>(node, "softcap", changes, [](auto& attrs) { attrs.softcap = 2; });
  add<Attrs>(node, "other direction", changes, [](auto& attrs) { attrs.causal = 1 - attrs.causal; });
  add<Attrs>(node, "window forgotten", changes, [](auto& attrs) { attrs.window = 0; });
  add<Attrs>(node, "window", changes, [](auto& attrs) { attrs.window = 1; });
  add<Attrs>(node, "chunks forgotten", changes, [](auto& attrs) { attrs.chunk = 0; });
  add<Attrs>(node, "chunks", changes, [](auto& attrs) { attrs.chunk = 1; });
  add<Attrs>(node, "blocks forgotten", changes, [](auto& attrs) { attrs.block_size = 0; });
  add<Attrs>(node, "choice of keys forgotten", changes, [](auto& attrs) { attrs.top_k_ratio = 0; });
  add<Attrs>(node, "choice of keys", changes, [](auto& attrs) { attrs.top_k_ratio = 0.3F; });
}

void add_ranges(const llmh_node& node, std::vector<Change>& changes) {
  if (node.op == LLMH_OP_SLICE)
    for (const int64_t by : {-1, 1})
      add<llmh_slice_attrs>(node, "moved by " + std::to_string(by), changes, [by](auto& attrs) {
        attrs.begin += by;
        attrs.end += by;
      });
  if (node.op == LLMH_OP_PAD)
    for (const int64_t by : {-1, 1})
      add<llmh_pad_attrs>(node, "moved by " + std::to_string(by), changes,
                          [by](auto& attrs) { attrs.begin += by; });
}

}  // namespace

void add_setting_changes(const llmh_node& node, std::vector<Change>& changes) {
  switch (node.op) {
    case LLMH_OP_RMS_NORM_GRAD:
    case LLMH_OP_LAYER_NORM_GRAD:
      return add_norm(node, changes);
    case LLMH_OP_RMS_NORM_WEIGHT_GRAD:  // the offset means nothing to it
    case LLMH_OP_LAYER_NORM_WEIGHT_GRAD:
      return add<llmh_norm_attrs>(node, "eps forgotten", changes, [](auto& attrs) { attrs.eps = 0; });
    case LLMH_OP_ATTENTION_GRAD:
      return add_attention(node, changes);
    case LLMH_OP_SLICE:
    case LLMH_OP_PAD:
      return add_ranges(node, changes);
    case LLMH_OP_ROPE:
      return add<llmh_rope_attrs>(node, "other style", changes, [](auto& attrs) {
        attrs.style = LLMH_ROPE_HALVES + LLMH_ROPE_INTERLEAVED - attrs.style;
      });
    case LLMH_OP_DROPOUT:
      add<llmh_dropout_attrs>(node, "other site", changes, [](auto& attrs) { ++attrs.site; });
      return add<llmh_dropout_attrs>(node, "other rate", changes, [](auto& attrs) { attrs.p /= 2; });
    case LLMH_OP_ACTIVATION_GRAD:
    case LLMH_OP_GATED_ACTIVATION_GRAD:
      return add<llmh_activation_attrs>(node, "other function", changes, [](auto& attrs) {
        // Two that are next to each other are one function in two forms.
        attrs.kind = (attrs.kind + 1) % LLMH_ACT_GELU_QUICK + 1;
      });
    case LLMH_OP_REDUCE:
      return add<llmh_reduce_attrs>(node, "other reduction", changes, [](auto& attrs) {
        attrs.kind = attrs.kind == LLMH_REDUCE_SUM ? LLMH_REDUCE_MEAN : LLMH_REDUCE_SUM;
      });
    case LLMH_OP_TOP_K_MASK:
      return add<llmh_top_k_attrs>(node, "one more", changes, [](auto& attrs) { ++attrs.k; });
    default:
      return;
  }
}

}  // namespace llmhost::mutation
