// Rotary positions and their scalings.
#include "mutation/changes.h"

namespace llmhost::mutation {
namespace {

using graph::Graph;
using Angles = llmh_rope_angles_attrs;

void rotation_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const auto attrs = graph::attrs_of<llmh_rope_attrs>(graph.node(index));
  add_identity(changes, graph, index, 0, "rotation dropped");
  if (attrs.rotary_dim > 2)
    changes.push_back(edited<llmh_rope_attrs>("rotation style swapped", index, [](llmh_rope_attrs& a) {
      a.style = a.style == LLMH_ROPE_HALVES ? LLMH_ROPE_INTERLEAVED : LLMH_ROPE_HALVES;
    }));
  if (attrs.rotary_dim % 4 != 0) return;
  changes.push_back(change("rotary dim halved", index, [attrs](graph::Rewriter& rewriter, uint32_t at) {
    const llmh_node& old = rewriter.source().node(at);
    auto inputs = rewriter.map(graph::inputs_of(old));
    graph::Emit emit(rewriter.target(), graph::to_view(old.path));
    llmh_rope_attrs half = attrs;
    half.rotary_dim /= 2;
    for (const size_t table : {1U, 2U}) inputs[table] = emit.slice(inputs[table], 1, 0, half.rotary_dim / 2);
    add_instead(rewriter, at, old.op, inputs, &half, sizeof half);
  }));
}

const char* scaling_name(int32_t scaling) {
  switch (scaling) {
    case LLMH_ROPE_SCALING_LINEAR:
      return "linear";
    case LLMH_ROPE_SCALING_DYNAMIC:
      return "dynamic";
    case LLMH_ROPE_SCALING_BANDS:
      return "bands";
    case LLMH_ROPE_SCALING_YARN:
      return "yarn";
    default:
      return "longrope";
  }
}

struct Number {
  const char* name;
  float Angles::*field;
  uint32_t scalings;  // that go by it, one bit each
};
constexpr uint32_t bit(int32_t scaling) {
  return 1U << static_cast<uint32_t>(scaling);
}
constexpr Number kNumbers[] = {
    {"factor", &Angles::factor,
     bit(LLMH_ROPE_SCALING_LINEAR) | bit(LLMH_ROPE_SCALING_DYNAMIC) | bit(LLMH_ROPE_SCALING_BANDS) |
         bit(LLMH_ROPE_SCALING_YARN)},
    {"original context", &Angles::original_context,
     bit(LLMH_ROPE_SCALING_DYNAMIC) | bit(LLMH_ROPE_SCALING_BANDS) | bit(LLMH_ROPE_SCALING_YARN) |
         bit(LLMH_ROPE_SCALING_LONGROPE)},
    {"low frequency factor", &Angles::low_freq_factor, bit(LLMH_ROPE_SCALING_BANDS)},
    {"high frequency factor", &Angles::high_freq_factor, bit(LLMH_ROPE_SCALING_BANDS)},
    {"fast beta", &Angles::beta_fast, bit(LLMH_ROPE_SCALING_YARN)},
    {"slow beta", &Angles::beta_slow, bit(LLMH_ROPE_SCALING_YARN)},
};

void scaling_changes(Changes& changes, const Angles& attrs, uint32_t index) {
  const std::string name = scaling_name(attrs.scaling);
  changes.push_back(edited<Angles>("scaling " + name + " dropped", index, [](Angles& a) {
    a.scaling = LLMH_ROPE_SCALING_NONE;
    a.short_factors = a.long_factors = nullptr;
  }));
  for (const Number& number : kNumbers) {
    if ((number.scalings & bit(attrs.scaling)) == 0 || attrs.*number.field == 0) continue;
    const auto field = number.field;
    changes.push_back(
        edited<Angles>(name + " " + number.name + " doubled", index, [field](Angles& a) { a.*field *= 2; }));
  }
  if (attrs.scaling == LLMH_ROPE_SCALING_YARN)
    changes.push_back(
        edited<Angles>("yarn truncation turned", index, [](Angles& a) { a.truncate = 1 - a.truncate; }));
  if (attrs.scaling == LLMH_ROPE_SCALING_LONGROPE)
    changes.push_back(edited<Angles>("long and short factors swapped", index,
                                     [](Angles& a) { std::swap(a.short_factors, a.long_factors); }));
}

void angle_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  const Angles& attrs = graph::attrs_of<Angles>(node);
  changes.push_back(edited<Angles>("theta doubled", index, [](Angles& a) { a.theta *= 2; }));
  if (attrs.scaling != LLMH_ROPE_SCALING_NONE) scaling_changes(changes, attrs, index);
  if (attrs.attention_factor != 0 && attrs.attention_factor != 1)
    changes.push_back(
        edited<Angles>("attention factor dropped", index, [](Angles& a) { a.attention_factor = 0; }));
  if (graph::input_of(node, 2) != LLMH_NO_TENSOR)
    changes.push_back(without_input("frequency factors dropped", index, 2));
}

}  // namespace

void rope_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const llmh_op op = graph.node(index).op;
  if (op == LLMH_OP_ROPE) rotation_changes(changes, graph, index);
  if (op == LLMH_OP_ROPE_ANGLES) angle_changes(changes, graph, index);
}

}  // namespace llmhost::mutation
