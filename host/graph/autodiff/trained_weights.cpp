#include "graph/autodiff/trained_weights.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "core/error.h"
#include "graph/autodiff/sizes.h"
#include "graph/rewrite.h"

namespace llmhost::graph {
namespace {

struct Choice {
  const TrainedWeight* wanted;
  llmh_tensor weight;
  llmh_tensor parameter = LLMH_NO_TENSOR;  // once a node has used it
};

const std::string& name_of(const TrainedWeight& wanted) {
  return wanted.parameter.empty() ? wanted.weight : wanted.parameter;
}

bool is_meant(const TrainedWeight& wanted, std::string_view path) {
  return wanted.paths.empty() || std::ranges::find(wanted.paths, path) != wanted.paths.end();
}

std::vector<Choice> find_weights(const Graph& graph, std::span<const TrainedWeight> trained) {
  std::vector<Choice> choices;
  for (const TrainedWeight& wanted : trained) {
    const llmh_tensor weight = graph.find(wanted.weight);
    if (weight == LLMH_NO_TENSOR || graph.tensor(weight).role != LLMH_TENSOR_WEIGHT)
      throw_invalid("the model has no weight '{}' that could be trained", wanted.weight);
    choices.push_back({&wanted, weight});
  }
  return choices;
}

llmh_tensor parameter_for(Graph& target, const llmh_tensor_info& weight, Choice& choice) {
  if (choice.parameter != LLMH_NO_TENSOR) return choice.parameter;
  choice.parameter = target.add_parameter(name_of(*choice.wanted), sizes_of(weight), {LLMH_INIT_ZEROS, 0});
  return choice.parameter;
}

}  // namespace

Graph with_trained_weights(const Graph& graph, std::span<const TrainedWeight> trained) {
  std::vector<Choice> choices = find_weights(graph, trained);
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    const std::string_view path = to_view(node.path);
    std::vector<llmh_tensor> inputs;
    for (const llmh_tensor input : inputs_of(node)) {
      Choice* chosen = nullptr;
      for (Choice& choice : choices) {
        if (choice.weight != input || !is_meant(*choice.wanted, path)) continue;
        if (chosen != nullptr)
          throw_invalid("weight '{}' is to be trained as '{}' and as '{}' at {}", choice.wanted->weight,
                        name_of(*chosen->wanted), name_of(*choice.wanted), path);
        chosen = &choice;
      }
      inputs.push_back(chosen == nullptr ? rewriter.map(input)
                                         : parameter_for(rewriter.target(), graph.tensor(input), *chosen));
    }
    const auto outputs = rewriter.target().add_node(node.op, path, inputs, node.attrs, node.attrs_size);
    for (size_t k = 0; k < outputs.size(); ++k) rewriter.replace(node.outputs[k], outputs[k]);
  }
  for (const Choice& choice : choices)
    if (choice.parameter == LLMH_NO_TENSOR)
      throw_invalid("weight '{}' is not used where it is to be trained as '{}'", choice.wanted->weight,
                    name_of(*choice.wanted));
  return rewriter.finish();
}

Graph with_trained_weights(const Graph& graph, std::span<const std::string> weights) {
  std::vector<TrainedWeight> trained;
  for (const std::string& weight : weights) trained.push_back({weight, {}, {}});
  return with_trained_weights(graph, trained);
}

}  // namespace llmhost::graph
