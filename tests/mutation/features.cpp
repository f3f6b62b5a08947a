#include "mutation/features.h"

#include <algorithm>
#include <optional>

#include "mutation/places.h"

namespace llmhost::mutation {
namespace {

using graph::Graph;
using graph::Rewriter;

// What the features with the same words have in common.
struct Group {
  std::map<uint32_t, Apply> applied;
  std::map<int32_t, std::map<uint32_t, Apply>> by_layer;
};

// Two changes of the same words in one layer are different features.
std::string numbered(const std::string& words, int32_t layer,
                     std::map<std::pair<std::string, int32_t>, int>& seen) {
  const int count = ++seen[{words, layer}];
  return count == 1 ? words : words + " #" + std::to_string(count);
}

std::map<std::string, Group> groups_of(const Graph& graph, const Places& places) {
  std::map<std::string, Group> groups;
  std::map<std::pair<std::string, int32_t>, int> seen;
  for (uint32_t i = 0; i < graph.node_count(); ++i)
    for (Change& change : changes_of(graph, i)) {
      const int32_t layer = places.layer(i);
      Group& group = groups[numbered(change.kind + ": " + places.of(i), layer, seen)];
      group.applied.insert(change.applied.begin(), change.applied.end());
      group.by_layer[layer].insert(change.applied.begin(), change.applied.end());
    }
  return groups;
}

// The hidden state that the head reads: what is gathered by output rows.
std::optional<llmh_tensor> last_hidden_state(const Graph& graph) {
  for (uint32_t i = graph.node_count(); i-- > 0;) {
    const llmh_node& node = graph.node(i);
    if (node.op == LLMH_OP_GATHER && graph.tensor(node.inputs[1]).input_kind == LLMH_INPUT_OUTPUT_ROWS)
      return node.inputs[0];
  }
  return std::nullopt;
}

// The latest tensor of the layer before that the last layer reads and that looks like its result.
std::optional<Feature> last_layer_skipped(const Graph& graph, const Places& places) {
  const auto result = last_hidden_state(graph);
  if (!result || graph.tensor(*result).producer < 0) return std::nullopt;
  const int32_t last = places.last_layer();
  llmh_tensor before = LLMH_NO_TENSOR;
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    if (places.layer(i) != last) continue;
    for (const llmh_tensor input : graph::inputs_of(graph.node(i))) {
      if (input == LLMH_NO_TENSOR || graph.tensor(input).producer < 0) continue;
      if (places.layer(static_cast<uint32_t>(graph.tensor(input).producer)) >= last) continue;
      const llmh_tensor_info& info = graph.tensor(input);
      if (graph::same_dims(graph::dims_of(info), graph::dims_of(graph.tensor(*result))))
        before = std::max(before, input);
    }
  }
  if (before == LLMH_NO_TENSOR) return std::nullopt;
  const auto producer = static_cast<uint32_t>(graph.tensor(*result).producer);
  return Feature{"last layer dropped", {{producer, [result, before](Rewriter& rewriter, uint32_t) {
                                           rewriter.replace(*result, rewriter.map(before));
                                         }}}};
}

}  // namespace

std::vector<Feature> features_of(const Graph& graph) {
  const Places places(graph);
  std::vector<Feature> features;
  for (const auto& [words, group] : groups_of(graph, places)) {
    features.push_back({words, group.applied});
    if (group.by_layer.size() > 1)
      features.push_back({words + " [last layer alone]", group.by_layer.rbegin()->second});
  }
  if (auto skipped = last_layer_skipped(graph, places)) features.push_back(std::move(*skipped));
  return features;
}

Graph without(const Graph& graph, const Feature& feature) {
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const auto change = feature.applied.find(i);
    if (change == feature.applied.end())
      rewriter.copy(i);
    else
      change->second(rewriter, i);
  }
  return rewriter.finish();
}

}  // namespace llmhost::mutation
