// Runs graphs on the reference evaluator in tests: a ragged step over paged state, and memory for every
// tensor.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "graph/graph.h"
#include "graph/reference.h"

namespace llmhost::graph::test {

inline std::vector<float> random_floats(std::mt19937& random, size_t count, float scale = 1.0F) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// One step: sequence s has past[s] positions in its state and adds fresh[s] tokens.
struct StepData {
  static constexpr int32_t kPageTokens = 4;
  static constexpr int32_t kPagesPerSequence = 16;

  StepData(const std::vector<int32_t>& past, const std::vector<int32_t>& fresh) {
    for (size_t s = 0; s < fresh.size(); ++s) {
      sequence_begin.push_back(static_cast<int32_t>(positions.size()));
      for (int32_t i = 0; i < fresh[s]; ++i) {
        token_sequence.push_back(static_cast<int32_t>(s));
        positions.push_back(past[s] + i);
        rope_lengths.push_back(past[s] + fresh[s]);
        token_ids.push_back(static_cast<int32_t>(positions.size() % 7));
      }
      state_lengths.push_back(past[s] + fresh[s]);
      output_rows.push_back(static_cast<int32_t>(positions.size()) - 1);
      // Pages in an order that is not that of the positions.
      for (int32_t p = 0; p < kPagesPerSequence; ++p)
        page_table.push_back((p * 5 + 3) % kPagesPerSequence + static_cast<int32_t>(s) * kPagesPerSequence);
    }
    sequence_begin.push_back(static_cast<int32_t>(positions.size()));
  }

  // Every token is an output row; the labels are made up, every fifth is none.
  StepData& all_rows(int32_t vocabulary = 7) {
    output_rows.resize(positions.size());
    std::iota(output_rows.begin(), output_rows.end(), 0);
    labels.clear();
    for (size_t row = 0; row < output_rows.size(); ++row)
      labels.push_back(row % 5 == 3 ? -100 : static_cast<int32_t>(row * 11 + 3) % vocabulary);
    return *this;
  }

  llmh_step view() const {
    llmh_step step{};
    step.struct_size = sizeof step;
    step.n_tokens = static_cast<int32_t>(positions.size());
    step.n_sequences = static_cast<int32_t>(state_lengths.size());
    step.n_outputs = static_cast<int32_t>(output_rows.size());
    step.page_table_stride = kPagesPerSequence;
    step.n_state = std::accumulate(state_lengths.begin(), state_lengths.end(), int64_t{0});
    step.token_ids = token_ids.data();
    step.positions = positions.data();
    step.rope_lengths = rope_lengths.data();
    step.token_sequence = token_sequence.data();
    step.output_rows = output_rows.data();
    step.sequence_begin = sequence_begin.data();
    step.state_lengths = state_lengths.data();
    step.page_table = page_table.data();
    step.labels = labels.data();
    step.dropout_seed = dropout_seed;
    return step;
  }

  std::vector<int32_t> token_ids, positions, rope_lengths, token_sequence, output_rows, sequence_begin,
      state_lengths, page_table;
  std::vector<int32_t> labels;  // none until all_rows() or the test makes them
  uint64_t dropout_seed = 0;
};

// The paged state of one slot in the evaluator's layout.
struct SlotState {
  SlotState(int32_t slot, int32_t kv_heads, int32_t k_dim, int32_t v_dim, size_t n_sequences) {
    llmh_state_spec spec{};
    spec.struct_size = sizeof spec;
    spec.n_kv_heads = kv_heads;
    spec.k_head_dim = k_dim;
    spec.v_head_dim = v_dim;
    view.struct_size = sizeof view;
    view.slot = slot;
    view.page_tokens = StepData::kPageTokens;
    view.dtype = LLMH_DTYPE_F32;
    view.page_bytes = reference_extension()->state_page_bytes(&spec, StepData::kPageTokens);
    view.range.bytes = view.page_bytes * static_cast<uint64_t>(StepData::kPagesPerSequence) * n_sequences;
    pages.assign(view.range.bytes / sizeof(float), 1e30F);  // what nobody wrote must not be read
  }
  llmh_state_view view{};
  std::vector<float> pages;
};

// Memory for every tensor of a graph in one step.
class Run {
 public:
  Run(const Graph& graph, const StepData& step) : graph_(graph), data_(step), step_(data_.view()) {
    const SymbolValues values = values_of(step_);
    for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
      const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(i));
      memory_.emplace_back(static_cast<size_t>(byte_count(info.dtype, dims_of(info), values)));
      const bool is_bound = info.role == LLMH_TENSOR_CONSTANT || info.role == LLMH_TENSOR_INPUT;
      pointers_.push_back(is_bound ? nullptr : memory_.back().data());
    }
  }

  Run& set(llmh_tensor tensor, const std::vector<float>& values) {
    auto& bytes = memory_[static_cast<size_t>(tensor)];
    REQUIRE(bytes.size() == values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return *this;
  }
  Run& set_bytes(llmh_tensor tensor, const std::vector<std::byte>& values) {
    REQUIRE(memory_[static_cast<size_t>(tensor)].size() == values.size());
    memory_[static_cast<size_t>(tensor)] = values;
    pointers_[static_cast<size_t>(tensor)] = memory_[static_cast<size_t>(tensor)].data();
    return *this;
  }
  Run& segments(const std::vector<llmh_adapter_segment>& list) {  // which must outlive the run
    step_.adapter_segments = list.data();
    step_.n_adapter_segments = static_cast<int32_t>(list.size());
    return *this;
  }
  Run& bind(SlotState& state) {
    states_.push_back(&state.view);
    state_data_.push_back(state.pages.data());
    return *this;
  }
  Run& eval() {
    const Evaluation evaluation{
        graph_.view(),     pointers_.data(), step_, states_.data(), static_cast<uint32_t>(states_.size()),
        state_data_.data()};
    for (uint32_t i = 0; i < graph_.node_count(); ++i) eval_node(evaluation, i);
    return *this;
  }
  std::vector<float> floats(llmh_tensor tensor) const {
    const auto& bytes = memory_[static_cast<size_t>(tensor)];
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
  }

  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

 private:
  const Graph& graph_;
  StepData data_;
  llmh_step step_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<void*> pointers_;
  std::vector<const llmh_state_view*> states_;
  std::vector<void*> state_data_;
};

// The largest difference, relative to the larger of 1 and the expected value.
inline double worst_error(const std::vector<float>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(error <= 1e30)) return 1e30;
    worst = std::max(worst, error / std::max(1.0, std::abs(expected[i])));
  }
  return worst;
}

inline llmh_tensor placeholder(Graph& graph, Dims dims, llmh_dtype dtype = LLMH_DTYPE_F32) {
  return graph.add_placeholder({dtype, std::move(dims)});
}

inline const llmh_dim kTokens = symbol_dim(LLMH_DIM_TOKENS);
inline Dims constant_dims(std::initializer_list<int64_t> sizes) {
  Dims dims;
  for (const int64_t size : sizes) dims.push_back(constant_dim(size));
  return dims;
}

template <typename Attrs>
llmh_tensor add(Graph& graph, llmh_op op, std::vector<llmh_tensor> inputs, const Attrs& attrs) {
  return graph.add_node(op, "", inputs, &attrs, sizeof attrs).at(0);
}
inline llmh_tensor add(Graph& graph, llmh_op op, std::vector<llmh_tensor> inputs) {
  return graph.add_node(op, "", inputs).at(0);
}

}  // namespace llmhost::graph::test
