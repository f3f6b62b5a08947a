#include <algorithm>

#include "core/error.h"
#include "graph/autodiff/backward.h"
#include "graph/autodiff/sizes.h"
#include "graph/decompose.h"
#include "graph/fuse.h"

namespace llmhost::graph {
namespace {

Graph with_parts(const Graph& graph, std::span<const VjpRule> rules) {
  return decompose(graph, [rules](const Graph& source, uint32_t node) {
    const auto rule = std::ranges::find(rules, source.node(node).op, &VjpRule::op);
    return rule == rules.end() || rule->kind != VjpKind::kParts;
  });
}

void check_options(const DifferentiateOptions& options) {
  const llmh_dtype dtype = options.saved_dtype;
  if (dtype != LLMH_DTYPE_F32 && dtype != LLMH_DTYPE_BF16 && dtype != LLMH_DTYPE_F16)
    throw_invalid("activations cannot wait as {}: f32, bf16 and f16 are possible", dtype_name(dtype));
}

llmh_tensor parameter_in(Graph& graph, const std::string& name, const llmh_tensor_info& like,
                         ParameterInit init) {
  const llmh_tensor found = graph.find(name);
  return found != LLMH_NO_TENSOR ? found : graph.add_parameter(name, sizes_of(like), init);
}

}  // namespace

TrainingGraph differentiate(const Graph& graph, const DifferentiateOptions& options,
                            std::span<const VjpRule> rules) {
  check_options(options);
  const Graph source = with_parts(graph, rules);
  const Layers layers(source);
  // Which values the backward part reads shows once it is written; then what waits for it is chosen.
  const SavePlan everything = keep_everything(source);
  Backward draft(source, layers, everything, rules);
  draft.run();
  const SavePlan plan = plan_saving(source, draft.wanted(), layers, options);
  Backward backward(source, layers, plan, rules);
  backward.run();

  TrainingGraph result;
  result.graph = eliminate_dead(backward.finish());
  for (uint32_t t = 0; t < graph.tensor_count(); ++t) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(t));
    if (info.role != LLMH_TENSOR_PARAMETER) continue;
    TrainedTensor trained;
    trained.name = to_view(info.name);
    trained.value =
        parameter_in(result.graph, trained.name, info, graph.parameter_init(static_cast<llmh_tensor>(t)));
    trained.gradient = parameter_in(result.graph, trained.name + ".gradient", info, {LLMH_INIT_ZEROS, 0});
    result.trained.push_back(std::move(trained));
  }
  return result;
}

TrainingGraph differentiate(const Graph& graph, const DifferentiateOptions& options) {
  return differentiate(graph, options, vjp_rules());
}

}  // namespace llmhost::graph
