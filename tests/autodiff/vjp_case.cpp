#include "vjp_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/dequantize.h"
#include "core/error.h"
#include "graph/autodiff/vjp.h"
#include "graph/reference.h"

namespace llmhost::graph::vjp_test {
namespace {

// Two sequences of four and two tokens; four output rows, one without a label.
constexpr int32_t kTokenIds[] = {0, 1, 2, 3, 4, 5};
constexpr int32_t kPositions[] = {0, 1, 2, 3, 0, 1};
constexpr int32_t kRopeLengths[] = {4, 4, 4, 4, 2, 2};
constexpr int32_t kTokenSequence[] = {0, 0, 0, 0, 1, 1};
constexpr int32_t kSequenceBegin[] = {0, 4, 6};
constexpr int32_t kStateLengths[] = {4, 2};
constexpr int32_t kOutputRows[] = {0, 2, 3, 5};
constexpr int32_t kLabels[] = {1, -100, 3, 0};
constexpr int64_t kTokens = 6;
constexpr int64_t kOutputs = 4;
constexpr size_t kMostElements = 64;  // one by one; more in random directions
constexpr int kDirections = 6;

llmh_step step_of_cases() {
  llmh_step step{};
  step.struct_size = sizeof step;
  step.n_tokens = kTokens;
  step.n_sequences = 2;
  step.n_outputs = kOutputs;
  step.n_state = kTokens;
  step.token_ids = kTokenIds;
  step.positions = kPositions;
  step.rope_lengths = kRopeLengths;
  step.token_sequence = kTokenSequence;
  step.sequence_begin = kSequenceBegin;
  step.state_lengths = kStateLengths;
  step.output_rows = kOutputRows;
  step.labels = kLabels;
  step.dropout_seed = 7;
  return step;
}

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

size_t count_of(const std::vector<int64_t>& sizes) {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  return static_cast<size_t>(count);
}

// Whole blocks of any type whose values are neither tiny nor large.
Bytes random_blocks(std::mt19937& random, llmh_dtype dtype, size_t count) {
  const auto layout = llmh_dtype_layout_of(dtype);
  Bytes bytes;
  std::vector<float> decoded(layout.block_elements);
  Bytes block(layout.block_bytes);
  for (size_t i = 0; i < count / layout.block_elements; ++i) {
    bool usable = false;
    while (!usable) {
      for (std::byte& byte : block) byte = static_cast<std::byte>(random());
      dequantize_row(dtype, block.data(), decoded.data(), decoded.size());
      float largest = 0;
      bool finite = true;
      for (const float value : decoded) {
        finite = finite && std::isfinite(value);
        largest = std::max(largest, std::abs(value));
      }
      usable = finite && largest > 0.2F && largest < 4.0F;
    }
    bytes.insert(bytes.end(), block.begin(), block.end());
  }
  return bytes;
}

// `count` values along a direction.
struct Probe {
  std::span<float> parameter;
  std::vector<float> start;

  void move(const Slope& slope, double distance) const {
    for (size_t i = 0; i < start.size(); ++i) {
      const double along = slope.direction.empty() ? (i == slope.element ? 1.0 : 0.0) : slope.direction[i];
      parameter[i] = static_cast<float>(static_cast<double>(start[i]) + distance * along);
    }
  }
};

std::vector<Slope> directions_of(size_t count, std::mt19937& random) {
  std::vector<Slope> slopes;
  if (count <= kMostElements) {
    for (size_t i = 0; i < count; ++i) slopes.push_back({{}, i, 0});
    return slopes;
  }
  std::normal_distribution<double> normal;
  for (int i = 0; i < kDirections; ++i) {
    Slope slope;
    for (size_t k = 0; k < count; ++k)
      slope.direction.push_back(normal(random) / std::sqrt(static_cast<double>(count)) * 4);
    slopes.push_back(std::move(slope));
  }
  return slopes;
}

bool is_held(const llmh_node& node) {
  const auto rules = vjp_rules();
  const auto rule = std::ranges::find(rules, node.op, &VjpRule::op);
  return rule != rules.end() && rule->kind == VjpKind::kNone;
}

}  // namespace

std::string CaseGraph::next_name() {
  return "x" + std::to_string(++n_names_);
}

std::vector<float> CaseGraph::normal(size_t count, float scale, float shift) {
  std::normal_distribution<float> distribution(shift, scale);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = distribution(random_);
  return numbers;
}

llmh_tensor CaseGraph::parameter(std::vector<int64_t> sizes, float scale, float shift) {
  const std::string name = next_name();
  values[name] = bytes_of(normal(count_of(sizes), scale, shift));
  return graph.add_parameter(name, sizes, {});
}

llmh_tensor CaseGraph::away_from_zero(std::vector<int64_t> sizes, bool positive) {
  const std::string name = next_name();
  auto numbers = normal(count_of(sizes), 1, 0);
  for (float& number : numbers) {
    const float sign = number < 0 && !positive ? -1.0F : 1.0F;
    number = sign * (0.3F + std::abs(number));
  }
  values[name] = bytes_of(numbers);
  return graph.add_parameter(name, sizes, {});
}

// The tokens' ids are their numbers: row t of the parameter is token t's.
llmh_tensor CaseGraph::tokens(std::vector<int64_t> sizes, float scale, float shift) {
  const int64_t shape[] = {kTokens, static_cast<int64_t>(count_of(sizes))};
  const llmh_tensor table = parameter({shape[0], shape[1]}, scale, shift);
  const llmh_tensor rows = frame.op(LLMH_OP_EMBEDDING, {table, graph.add_input(LLMH_INPUT_TOKEN_IDS)});
  if (sizes.size() == 1) return rows;
  Dims dims = {symbol_dim(LLMH_DIM_TOKENS)};
  for (const int64_t size : sizes) dims.push_back(constant_dim(size));
  return frame.reshape(rows, dims);
}

llmh_tensor CaseGraph::outputs(std::vector<int64_t> sizes, float scale) {
  return frame.gather(tokens(std::move(sizes), scale), graph.add_input(LLMH_INPUT_OUTPUT_ROWS));
}

llmh_tensor CaseGraph::constant(std::vector<int64_t> sizes, float scale) {
  return graph.add_constant(next_name(), LLMH_DTYPE_F32, sizes, bytes_of(normal(count_of(sizes), scale, 0)));
}

llmh_tensor CaseGraph::ids(std::vector<int64_t> sizes, int32_t limit) {
  std::vector<int32_t> numbers(count_of(sizes));
  for (int32_t& number : numbers) number = static_cast<int32_t>(random_() % static_cast<uint32_t>(limit));
  return graph.add_constant(next_name(), LLMH_DTYPE_I32, sizes, bytes_of(numbers));
}

llmh_tensor CaseGraph::token_ids(std::vector<int64_t> sizes, int32_t limit) {
  const std::string name = next_name();
  std::vector<int32_t> numbers(count_of(sizes) * kTokens);
  for (int32_t& number : numbers) number = static_cast<int32_t>(random_() % static_cast<uint32_t>(limit));
  values[name] = bytes_of(numbers);
  Dims dims = {symbol_dim(LLMH_DIM_TOKENS)};
  for (const int64_t size : sizes) dims.push_back(constant_dim(size));
  const llmh_tensor made = graph.add_placeholder({LLMH_DTYPE_I32, dims});
  graph.set_name(made, name);
  return made;
}

llmh_tensor CaseGraph::weight(llmh_dtype dtype, std::vector<int64_t> sizes) {
  const std::string name = next_name();
  values[name] = dtype == LLMH_DTYPE_F32 ? bytes_of(normal(count_of(sizes), 1, 0))
                                         : random_blocks(random_, dtype, count_of(sizes));
  return graph.add_weight(name, dtype, sizes);
}

BuiltCase build_case(const VjpCase& vjp_case) {
  CaseGraph builder(vjp_case.seed);
  BuiltCase built;
  built.result = vjp_case.build(builder);
  Graph& graph = builder.graph;
  const auto values = values_of(step_of_cases());
  const Dims dims = type_of(graph.tensor(built.result)).dims;
  const auto count = static_cast<size_t>(element_count(dims, values));
  built.weights.assign(count, 1.0F);
  if (vjp_case.is_loss) {
    graph.add_output(LLMH_OUTPUT_LOSS, built.result);
  } else {
    std::mt19937 random(99);
    std::normal_distribution<float> normal;
    for (float& weight : built.weights) weight = normal(random);
    const llmh_tensor weights = graph.add_placeholder({LLMH_DTYPE_F32, dims});
    graph.set_name(weights, "weights");
    builder.values["weights"] = bytes_of(built.weights);
    Emit& frame = builder.frame;
    llmh_tensor sum = frame.reduce_to(frame.mul(built.result, weights), {constant_dim(1)});
    graph.add_output(LLMH_OUTPUT_LOSS, frame.broadcast(sum, {symbol_dim(LLMH_DIM_OUTPUTS)}));
    for (float& weight : built.weights) weight *= kOutputs;  // the loss is there once an output row
  }
  built.graph = std::move(graph);
  built.values = std::move(builder.values);
  return built;
}

CaseRun::CaseRun(const Graph& graph, const Values& values) : graph_(graph) {
  const SymbolValues sizes = values_of(step_of_cases());
  for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(i));
    const auto bytes = static_cast<size_t>(byte_count(info.dtype, dims_of(info), sizes));
    memory_.emplace_back(bytes + 1);
    const bool is_bound = info.role == LLMH_TENSOR_CONSTANT || info.role == LLMH_TENSOR_INPUT;
    if (const auto value = values.find(to_view(info.name)); value != values.end()) {
      if (value->second.size() != bytes) throw_invalid("{} has another size", to_view(info.name));
      std::ranges::copy(value->second, memory_.back().begin());
    }
    pointers_.push_back(is_bound ? nullptr : memory_.back().data());
  }
}

void CaseRun::eval(const std::function<bool(const llmh_node&)>& held) {
  const llmh_step step = step_of_cases();
  const Evaluation evaluation{graph_.view(), pointers_.data(), step};
  for (uint32_t i = 0; i < graph_.node_count(); ++i)
    if (!held || !held(graph_.node(i))) eval_node(evaluation, i);
}

std::span<float> CaseRun::floats(llmh_tensor tensor) {
  Bytes& bytes = memory_[static_cast<size_t>(tensor)];
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

Gradients run_training(const TrainingGraph& training, const Values& values) {
  CaseRun run(training.graph, values);
  run.eval();
  Gradients gradients;
  for (const TrainedTensor& trained : training.trained) {
    const auto floats = run.floats(trained.gradient);
    gradients[trained.name] = {floats.begin(), floats.end()};
  }
  return gradients;
}

// Central differences of fourth order.
Slopes finite_differences(const BuiltCase& built, double step) {
  CaseRun run(built.graph, built.values);
  run.eval();
  const auto result = run.floats(built.result);
  const auto value_at = [&](const Probe& probe, const Slope& slope, double distance) {
    probe.move(slope, distance);
    run.eval(is_held);
    double sum = 0;
    for (size_t i = 0; i < built.weights.size(); ++i)
      sum += static_cast<double>(built.weights[i]) * static_cast<double>(result[i]);
    return sum;
  };
  std::mt19937 random(5);
  Slopes all;
  for (uint32_t t = 0; t < built.graph.tensor_count(); ++t) {
    const llmh_tensor_info& info = built.graph.tensor(static_cast<llmh_tensor>(t));
    if (info.role != LLMH_TENSOR_PARAMETER) continue;
    const auto parameter = run.floats(static_cast<llmh_tensor>(t));
    const Probe probe{parameter, {parameter.begin(), parameter.end()}};
    auto slopes = directions_of(parameter.size(), random);
    for (Slope& slope : slopes)
      slope.value = (8 * (value_at(probe, slope, step) - value_at(probe, slope, -step)) -
                     (value_at(probe, slope, 2 * step) - value_at(probe, slope, -2 * step))) /
                    (12 * step);
    probe.move({{}, 0, 0}, 0);
    all[std::string(to_view(info.name))] = std::move(slopes);
  }
  return all;
}

double worst_error(const Gradients& gradients, const Slopes& slopes) {
  double worst = 0;
  for (const auto& [name, list] : slopes) {
    const auto found = gradients.find(name);
    if (found == gradients.end()) return std::numeric_limits<double>::infinity();
    double largest = 1e-3;
    for (const Slope& slope : list) largest = std::max(largest, std::abs(slope.value));
    for (const Slope& slope : list) {
      double actual = 0;
      if (slope.direction.empty()) actual = found->second.at(slope.element);
      for (size_t i = 0; i < slope.direction.size(); ++i) actual += slope.direction[i] * found->second.at(i);
      const double error = std::abs(actual - slope.value) / largest;
      if (!(error <= 1e30)) return std::numeric_limits<double>::infinity();
      worst = std::max(worst, error);
    }
  }
  return worst;
}

}  // namespace llmhost::graph::vjp_test
