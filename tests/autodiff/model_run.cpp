#include "model_run.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "graph/reference.h"
#include "model/weights.h"

namespace llmhost::test {
namespace {

using graph::Graph;

// One step over all rows; every token that predicts something is an output row.
struct Step {
  explicit Step(const LabelledRows& rows) {
    for (size_t s = 0; s < rows.ids.size(); ++s) {
      sequence_begin.push_back(static_cast<int32_t>(ids.size()));
      const auto length = static_cast<int32_t>(rows.ids[s].size());
      state_lengths.push_back(length);
      for (int32_t i = 0; i < length; ++i) {
        const auto at = static_cast<size_t>(i);
        const bool has_next = i + 1 < length && rows.labels[s][at + 1] >= 0;
        if (has_next) {
          output_rows.push_back(static_cast<int32_t>(ids.size()));
          labels.push_back(rows.labels[s][at + 1]);
        }
        ids.push_back(rows.ids[s][at]);
        positions.push_back(i);
        rope_lengths.push_back(length);
        sequences.push_back(static_cast<int32_t>(s));
      }
    }
    sequence_begin.push_back(static_cast<int32_t>(ids.size()));
  }

  llmh_step view() const {
    llmh_step step{};
    step.struct_size = sizeof step;
    step.n_tokens = static_cast<int32_t>(ids.size());
    step.n_sequences = static_cast<int32_t>(state_lengths.size());
    step.n_outputs = static_cast<int32_t>(output_rows.size());
    step.n_state = step.n_tokens;
    step.token_ids = ids.data();
    step.positions = positions.data();
    step.rope_lengths = rope_lengths.data();
    step.token_sequence = sequences.data();
    step.output_rows = output_rows.data();
    step.sequence_begin = sequence_begin.data();
    step.state_lengths = state_lengths.data();
    step.labels = labels.data();
    return step;
  }

  std::vector<int32_t> ids, positions, rope_lengths, sequences, sequence_begin, state_lengths, output_rows,
      labels;
};

class Memory {
 public:
  Memory(const Graph& graph, const model::LoadedModel& model, const llmh_step& step,
         const ParameterValues& parameters) {
    const graph::SymbolValues values = graph::values_of(step);
    std::map<llmh_tensor, const model::HubTensor*> stored;
    for (const model::GraphWeight& weight : model.weights_of(graph)) stored[weight.tensor] = weight.source;
    for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
      const auto tensor = static_cast<llmh_tensor>(i);
      const llmh_tensor_info& info = graph.tensor(tensor);
      const bool is_bound = info.role == LLMH_TENSOR_CONSTANT || info.role == LLMH_TENSOR_INPUT;
      const auto bytes = static_cast<size_t>(graph::byte_count(info.dtype, graph::dims_of(info), values));
      memory_.emplace_back(is_bound ? 0 : bytes + 1);
      pointers_.push_back(is_bound ? nullptr : memory_.back().data());
      const auto known = model.tensors().find(graph::to_view(info.name));
      // Vectors are f32 to a graph, whatever they are stored as.
      if (info.role == LLMH_TENSOR_WEIGHT)
        copy(model::load_weight(*stored.at(tensor), info.rank == 1 ? LLMH_USE_VECTOR : 0).bytes, bytes);
      if (info.role != LLMH_TENSOR_PARAMETER) continue;
      const auto given = parameters.find(std::string(graph::to_view(info.name)));
      if (given != parameters.end())
        copy(std::as_bytes(std::span(given->second)), bytes);
      else if (known != model.tensors().end())
        copy(model::load_weight(known->second, LLMH_USE_VECTOR).bytes, bytes);
    }
  }

  void* const* pointers() const { return pointers_.data(); }
  std::span<const float> floats(llmh_tensor tensor) const {
    const auto& bytes = memory_[static_cast<size_t>(tensor)];
    return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
  }

 private:
  void copy(std::span<const std::byte> data, size_t bytes) {
    if (data.size() != bytes) throw_invalid("a weight has {} bytes, not {}", data.size(), bytes);
    std::ranges::copy(data, memory_.back().begin());
  }

  std::vector<std::vector<std::byte>> memory_;
  std::vector<void*> pointers_;
};

Memory evaluated(const Graph& graph, const model::LoadedModel& model, const Step& data,
                 const ParameterValues& values) {
  const llmh_step step = data.view();
  Memory memory(graph, model, step, values);
  const graph::Evaluation evaluation{graph.view(), memory.pointers(), step};
  for (uint32_t i = 0; i < graph.node_count(); ++i) graph::eval_node(evaluation, i);
  return memory;
}

double mean_loss(const Graph& graph, const Memory& memory, const LabelledRows& rows) {
  double sum = 0;
  for (const float loss : memory.floats(graph.view().outputs[0]->tensor)) sum += static_cast<double>(loss);
  return sum / static_cast<double>(rows.targets());
}

}  // namespace

int64_t LabelledRows::targets() const {
  int64_t count = 0;
  for (const auto& row : labels)
    for (size_t i = 1; i < row.size(); ++i) count += row[i] >= 0 ? 1 : 0;
  return count;
}

ParameterValues stored_values(const model::LoadedModel& model, std::span<const std::string> names) {
  ParameterValues values;
  for (const std::string& name : names) {
    const auto loaded = model::load_weight(model.tensors().find(name)->second, LLMH_USE_VECTOR);
    auto& floats = values[name];
    floats.resize(loaded.bytes.size() / sizeof(float));
    std::memcpy(floats.data(), loaded.bytes.data(), loaded.bytes.size());
  }
  return values;
}

ModelGradients run_model(const graph::TrainingGraph& training, const model::LoadedModel& model,
                         const LabelledRows& rows, const ParameterValues& values) {
  const Step data(rows);
  const Memory memory = evaluated(training.graph, model, data, values);
  ModelGradients result;
  result.loss = mean_loss(training.graph, memory, rows);
  for (const graph::TrainedTensor& trained : training.trained) {
    auto& gradient = result.by_name[trained.name];
    for (const float sum : memory.floats(trained.gradient))
      gradient.push_back(static_cast<float>(static_cast<double>(sum) / static_cast<double>(rows.targets())));
  }
  return result;
}

double loss_of_model(const Graph& with_loss, const model::LoadedModel& model, const LabelledRows& rows,
                     const ParameterValues& values) {
  const Step data(rows);
  return mean_loss(with_loss, evaluated(with_loss, model, data, values), rows);
}

}  // namespace llmhost::test
