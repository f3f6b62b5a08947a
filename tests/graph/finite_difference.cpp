#include "finite_difference.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/quantize.h"
#include "double_eval.h"
#include "graph/emit.h"

namespace llmhost::graph::test {
namespace {

void bind(DoubleRun& run, const Values& values) {
  for (const auto& [name, floats] : values.floats)
    if (run.has(name)) run.set(name, floats);
  for (const auto& [name, bytes] : values.bytes)
    if (run.has(name)) run.set_bytes(name, bytes);
}

void bind(Run& run, const Graph& graph, const Values& values) {
  for (const auto& [name, floats] : values.floats)
    if (const llmh_tensor tensor = graph.find(name); tensor != LLMH_NO_TENSOR) run.set(tensor, floats);
  for (const auto& [name, bytes] : values.bytes)
    if (const llmh_tensor tensor = graph.find(name); tensor != LLMH_NO_TENSOR) run.set_bytes(tensor, bytes);
}

double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

std::vector<Derivative> differences(DoubleRun& run, const std::string& tensor, int32_t output,
                                    const Differences& how) {
  const size_t n = run.values(tensor).size();
  const size_t looked_at = std::min(n, how.most);
  std::vector<Derivative> result;
  for (size_t i = 0; i < looked_at; ++i) {
    const size_t element = i * n / looked_at;
    const double value = run.values(tensor)[element];
    double sums[2];
    for (const size_t side : {0U, 1U}) {
      run.values(tensor)[element] = side == 0 ? value - how.step : value + how.step;
      run.eval();
      sums[side] = sum_of(run.output(output));
    }
    run.values(tensor)[element] = value;
    result.push_back({element, (sums[1] - sums[0]) / (2 * how.step)});
  }
  return result;
}

llmh_tensor random_constant(Graph& graph, const Dims& dims, uint32_t seed) {
  std::vector<int64_t> shape;
  size_t count = 1;
  for (const llmh_dim& dim : dims) {
    shape.push_back(dim.size);
    count *= static_cast<size_t>(dim.size);
  }
  std::mt19937 random(seed);
  const auto values = random_floats(random, count);
  return graph.add_constant({}, LLMH_DTYPE_F32, shape, std::as_bytes(std::span(values)));
}

std::vector<std::byte> random_bytes(const llmh_tensor_info& info, const std::vector<float>& values) {
  std::vector<std::byte> bytes(static_cast<size_t>(byte_count(info.dtype, dims_of(info), {})));
  if (!quantize_row(info.dtype, values.data(), bytes.data(), values.size()))
    throw_invalid("{}: a value cannot be stored as {}", to_view(info.name), dtype_name(info.dtype));
  return bytes;
}

}  // namespace

std::vector<Derivative> central_differences(const Graph& graph, const StepData& step, const Values& values,
                                            const std::string& tensor, int32_t output,
                                            const Differences& how) {
  DoubleRun run(graph, step);
  bind(run, values);
  run.eval();  // at the place itself: what is held stays at these values
  return differences(run, tensor, output, how);
}

std::map<std::string, std::vector<float>> gradients_of(const TrainingGraph& trained, const StepData& step,
                                                       const Values& values) {
  Run run(trained.graph, step);
  bind(run, trained.graph, values);
  run.eval();
  std::map<std::string, std::vector<float>> result;
  for (const TrainedTensor& tensor : trained.trained) result[tensor.name] = run.floats(tensor.gradient);
  return result;
}

GradientError worst_gradient_error(const Graph& forward, const TrainingGraph& trained, const StepData& step,
                                   const Values& values, const Differences& how) {
  const auto gradients = gradients_of(trained, step, values);
  DoubleRun run(forward, step);
  bind(run, values);
  run.eval();
  GradientError error;
  for (const auto& [name, gradient] : gradients) {
    const auto derivatives = differences(run, name, LLMH_OUTPUT_LOSS, how);
    double largest = 1e-3;
    for (const Derivative& d : derivatives) largest = std::max(largest, std::fabs(d.value));
    for (const Derivative& d : derivatives) {
      const auto actual = static_cast<double>(gradient.at(d.element));
      double off = std::fabs(actual - d.value) / largest;
      if (!std::isfinite(off)) off = 1e30;
      if (off <= error.worst) continue;
      error.worst = off;
      error.where = fmt::format("{}[{}]: {} instead of {}", name, d.element, actual, d.value);
    }
  }
  return error;
}

llmh_tensor add_random_loss(Graph& graph, llmh_tensor y, uint32_t seed) {
  Emit emit(graph, "");
  Dims dims = emit.dims(y);
  const llmh_dim rows = symbol_dim(LLMH_DIM_OUTPUTS);
  const bool by_token = !dims.empty() && same_dim(dims[0], kTokens);
  if (by_token) {
    y = emit.gather(y, graph.add_input(LLMH_INPUT_OUTPUT_ROWS));
    dims[0] = rows;
  }
  const bool by_row = !dims.empty() && same_dim(dims[0], rows);
  const Dims inner(dims.begin() + (by_row ? 1 : 0), dims.end());
  llmh_tensor weighted = emit.mul(y, random_constant(graph, inner, seed));
  llmh_tensor loss = LLMH_NO_TENSOR;
  if (by_row) {
    weighted = emit.reshape(weighted, {rows, flattened(inner)});
    loss = emit.reshape(emit.reduce(LLMH_REDUCE_SUM, weighted), {rows});
  } else {
    weighted = emit.reduce(LLMH_REDUCE_SUM, emit.reshape(weighted, {flattened(inner)}));
    loss = emit.broadcast(weighted, {rows});
  }
  graph.add_output(LLMH_OUTPUT_LOSS, loss);
  return loss;
}

llmh_tensor trained(Graph& graph, const std::string& name, std::initializer_list<int64_t> shape) {
  return graph.add_parameter(name, std::vector<int64_t>(shape), {});
}

llmh_tensor trained_rows(Graph& graph, const std::string& name, int64_t width) {
  return Emit(graph, "").gather(trained(graph, name, {7, width}), graph.add_input(LLMH_INPUT_TOKEN_IDS));
}

void fill_values(const Graph& graph, Values& values, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(i));
    const std::string name(to_view(info.name));
    if (info.role != LLMH_TENSOR_PARAMETER && info.role != LLMH_TENSOR_WEIGHT) continue;
    if (values.floats.contains(name) || values.bytes.contains(name)) continue;
    const auto count = static_cast<size_t>(element_count(dims_of(info), {}));
    auto floats = random_floats(random, count, scale);
    if (info.dtype == LLMH_DTYPE_F32)
      values.floats[name] = std::move(floats);
    else
      values.bytes[name] = random_bytes(info, floats);
  }
}

}  // namespace llmhost::graph::test
