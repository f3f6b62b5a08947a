#include "mutation/trial.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "engine/engine.h"
#include "graph/decompose.h"
#include "graph/fuse.h"
#include "graph/lifetimes.h"
#include "graph/op_registry.h"

namespace llmhost::mutation {
namespace {

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;  // keeps a NaN
  }
  return largest;
}

bool is_within(double difference, double tolerance) {
  return difference <= tolerance;  // a NaN is not
}

graph::Graph lowered(const graph::Graph& graph, const engine::Device& device) {
  const auto supports = [&](const graph::Graph& of, uint32_t node) {
    return device.api().supports(device.instance(), &of.view(), node) == 1;
  };
  graph::Graph result = graph::decompose(graph::fuse(graph, supports), supports);
  const uint32_t bad = graph::first_unsupported(result, supports);
  if (bad < result.node_count())
    throw_error(ErrorCode::kUnimplemented, "the backend does not run the op {}",
                graph::op_name(result.node(bad).op));
  return result;
}

engine::RunnerOptions limits_for(const test::GoldenCase& golden) {
  size_t longest = 1;
  for (const test::GoldenPrompt& prompt : golden.prompts) longest = std::max(longest, prompt.ids.size());
  engine::RunnerOptions limits;
  limits.max_tokens = limits.max_outputs = static_cast<int32_t>(longest);
  limits.max_sequences = 1;
  limits.max_context = static_cast<int64_t>(longest) + 8;
  limits.kv_dtype = LLMH_DTYPE_F32;
  return limits;
}

// By an engine of its own: nothing that a prompt left behind is used by the next. NaN throughout when the
// engine refuses the numbers: that is noticed.
std::vector<float> prompt_logits(engine::ModelRunner& runner, const test::GoldenPrompt& prompt) {
  engine::Engine engine(runner, {});
  std::vector<float> logits;
  engine::Request request;
  request.prompt = prompt.ids;
  request.max_tokens = 1;
  request.sampling.temperature = 0;
  request.on_prompt_logits = [&](const engine::PromptLogits& part) {
    logits.insert(logits.end(), part.rows.begin(), part.rows.end());
  };
  const auto id = engine.submit(std::move(request));
  engine.run_all();
  const auto result = engine.take_result(id);
  if (!result->error.empty()) logits.assign(prompt.logits.size(), std::numeric_limits<float>::quiet_NaN());
  return logits;
}

}  // namespace

Trial::Trial(const std::string& golden_case, const plugin::Registry& registry, const engine::Device& device)
    : golden_(test::load_golden_case(golden_case)),
      model_(model::load_model(golden_.model, registry)),
      device_(device) {
  unchanged_ = logits(model_->graph(), false);
  for (size_t i = 0; i < unchanged_.size(); ++i) {
    const double difference = largest_difference(unchanged_[i], golden_.prompts[i].logits);
    if (!(difference <= error_)) error_ = difference;  // keeps a NaN
  }
  error_ /= golden_.f32.max_abs;
}

std::vector<std::vector<float>> Trial::logits(const graph::Graph& graph, bool stop_when_wrong) const {
  const graph::Graph to_run = lowered(graph, device_);
  const engine::DeviceWeights weights(*model_, to_run, device_);
  const engine::RunnerOptions limits = limits_for(golden_);
  const graph::ArenaPlan arena = graph::plan_arena(to_run, limits.limits());
  engine::ModelRunner runner(
      device_, {&to_run.view(), weights.by_tensor(), model_->states(), arena.offsets, arena.bytes}, limits);
  std::vector<std::vector<float>> results;
  for (const test::GoldenPrompt& prompt : golden_.prompts) {
    results.push_back(prompt_logits(runner, prompt));
    if (stop_when_wrong &&
        !is_within(largest_difference(results.back(), prompt.logits), golden_.f32.max_abs))
      break;
  }
  return results;
}

Trial::Outcome Trial::run(const graph::Graph& graph) const {
  const auto results = logits(graph, true);
  const size_t last = results.size() - 1;
  Outcome outcome;
  outcome.killed =
      !is_within(largest_difference(results[last], golden_.prompts[last].logits), golden_.f32.max_abs);
  for (size_t i = 0; i < results.size(); ++i)
    outcome.difference =
        std::max(outcome.difference, largest_difference(results[i], unchanged_[i]) / golden_.f32.max_abs);
  return outcome;
}

}  // namespace llmhost::mutation
