// Activation functions, gates, soft maxima.
#include "mutation/changes.h"

namespace llmhost::mutation {
namespace {

using graph::Emit;
using graph::Graph;
using Attrs = llmh_activation_attrs;

struct Confusion {
  int32_t kind;
  int32_t other;
  const char* name;
};
constexpr Confusion kConfusions[] = {
    {LLMH_ACT_SILU, LLMH_ACT_GELU, "silu to gelu"},
    {LLMH_ACT_GELU, LLMH_ACT_GELU_TANH, "gelu to gelu_tanh"},
    {LLMH_ACT_GELU, LLMH_ACT_SILU, "gelu to silu"},
    {LLMH_ACT_GELU_TANH, LLMH_ACT_GELU, "gelu_tanh to gelu"},
    {LLMH_ACT_GELU_TANH, LLMH_ACT_SILU, "gelu_tanh to silu"},
    {LLMH_ACT_GELU_QUICK, LLMH_ACT_GELU, "gelu_quick to gelu"},
    {LLMH_ACT_RELU, LLMH_ACT_SILU, "relu to silu"},
    {LLMH_ACT_RELU_SQUARED, LLMH_ACT_RELU, "relu_squared to relu"},
    {LLMH_ACT_SIGMOID, LLMH_ACT_TANH, "sigmoid to tanh"},
};

void kind_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const int32_t kind = graph::attrs_of<Attrs>(graph.node(index)).kind;
  for (const Confusion& confusion : kConfusions) {
    if (confusion.kind != kind) continue;
    const int32_t other = confusion.other;
    changes.push_back(edited<Attrs>(confusion.name, index, [other](Attrs& attrs) { attrs.kind = other; }));
  }
}

void gate_changes(Changes& changes, const Graph& graph, uint32_t index) {
  const int32_t kind = graph::attrs_of<Attrs>(graph.node(index)).kind;
  changes.push_back(swapped_inputs("gate and up swapped", index, 0, 1));
  changes.push_back(replaced("up dropped", index,
                             [kind](Emit& emit, const auto& in) { return emit.activation(kind, in[0]); }));
  changes.push_back(replaced("activation dropped", index,
                             [](Emit& emit, const auto& in) { return emit.mul(in[0], in[1]); }));
}

}  // namespace

void activation_changes(Changes& changes, const Graph& graph, uint32_t index) {
  switch (graph.node(index).op) {
    case LLMH_OP_ACTIVATION:
      kind_changes(changes, graph, index);
      add_identity(changes, graph, index, 0, "activation dropped");
      return;
    case LLMH_OP_GATED_ACTIVATION:
      kind_changes(changes, graph, index);
      gate_changes(changes, graph, index);
      return;
    case LLMH_OP_SOFTMAX:
      changes.push_back(replaced("softmax to sigmoid", index, [](Emit& emit, const auto& in) {
        return emit.activation(LLMH_ACT_SIGMOID, in[0]);
      }));
      add_identity(changes, graph, index, 0, "softmax dropped");
      return;
    case LLMH_OP_SOFTCAP:
      add_identity(changes, graph, index, 0, "cap dropped");
      return;
    default:
      return;
  }
}

}  // namespace llmhost::mutation
