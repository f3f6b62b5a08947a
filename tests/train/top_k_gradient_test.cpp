// Gradients of an adapter under top-k attention, beside torch: a low-rank adapter's graph whose attentions
// are given a ratio.
#include "graph/rewrite.h"
#include "train/golden_case.h"
#include "train/parameter_memory.h"
#include "train/step_arrays.h"
#include "train/training_graph.h"
#include "train/training_program.h"
#include "train/training_weights.h"

using namespace llmhost;
using namespace llmhost::test;
using namespace llmhost::train;

namespace {

graph::Graph with_ratio(const graph::Graph& from, float ratio) {
  graph::Rewriter rewriter(from);
  for (uint32_t i = 0; i < from.node_count(); ++i) {
    const llmh_node& node = from.node(i);
    if (node.op != LLMH_OP_ATTENTION) {
      rewriter.copy(i);
      continue;
    }
    llmh_attention_attrs attrs = graph::attrs_of<llmh_attention_attrs>(node);
    attrs.top_k_ratio = ratio;
    rewriter.replace(node.outputs[0], rewriter.target().add_node(node.op, graph::to_view(node.path),
                                                                 rewriter.map(graph::inputs_of(node)), &attrs,
                                                                 sizeof attrs)[0]);
  }
  return rewriter.finish();
}

}  // namespace

TEST_CASE("gradients under top-k attention are torch's") {
  const GoldenModel base(golden("models/llama"));
  const std::filesystem::path adapter = golden("lora/llama_qv");
  const auto method = Method::open_adapter(built_plugins(), adapter);
  const Method::Tuned tuned = method->apply(*base.model);
  const graph::TrainingGraph training =
      graph::differentiate(graph::with_training_loss(with_ratio(tuned.graph, 0.5F)), {});
  const LoweredGraph lowered = lower_training(training.graph, base.device(), training_limits(160, 8));
  std::vector<std::string> names;
  std::vector<uint64_t> counts;
  for (const graph::TrainedTensor& tensor : training.trained) {
    names.push_back(tensor.name);
    counts.push_back(
        golden_tensor(adapter / "adapter_model.safetensors", method->file_name(tensor.name)).size());
  }
  const ParameterMemory parameters(base.device(), names, counts);
  for (size_t i = 0; i < names.size(); ++i)
    std::ranges::copy(golden_tensor(adapter / "adapter_model.safetensors", method->file_name(names[i])),
                      parameters.value(i).begin());
  const engine::DeviceBuffer arena(base.device(), lowered.arena.bytes, LLMH_BUFFER_ARENA, "activations");
  const engine::DeviceBuffer scratch(base.device(), lowered.scratch_bytes, LLMH_BUFFER_SCRATCH, "scratch");
  TrainingWeights weights(*base.model, base.device(), method->base_weights(*base.model));
  TrainingProgram program(base.device(), lowered,
                          {weights.of(lowered.graph), parameters.ranges(lowered.graph), arena, scratch});
  const std::vector<Example> batch = golden_batch("eval");
  StepArrays arrays;
  arrays.fill(pointers(batch), lowered.limits, base.model->info().vocab_size);
  program.run(arrays.step(0));
  const auto n = static_cast<double>(count_targets(batch));
  for (size_t i = 0; i < names.size(); ++i) {
    CAPTURE(names[i]);
    const std::vector<float> want =
        golden_tensor(golden("topk/llama/expected.safetensors"), "grad_0.5/" + method->file_name(names[i]));
    CHECK(largest_difference(parameters.gradient(i), want, 1 / n) < kGradientLimit);
  }
}
