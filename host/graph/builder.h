// The llmh_builder table over a Graph: what an architecture's build() and a method's rewrite() are given.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "graph/graph.h"

namespace llmhost::graph {

struct WeightInfo {
  llmh_dtype dtype = LLMH_DTYPE_F32;
  std::vector<int64_t> shape;  // row-major
};

// The checkpoint as the builder sees it, by Hub name.
class WeightLookup {
 public:
  virtual ~WeightLookup() = default;
  virtual std::optional<WeightInfo> find(std::string_view name) const = 0;
  // What the file calls it, or would call it; for errors.
  virtual std::string stored_name(std::string_view name) const { return std::string(name); }
};

// What may be added through the table.
enum class BuilderMode {
  kModel,    // an architecture: no new trainable tensors
  kRewrite,  // a fine-tuning method: parameters too
};

// Functions of the table [control]. The graph and the lookup must outlive the builder.
class GraphBuilder {
 public:
  GraphBuilder(Graph& graph, const WeightLookup& weights, BuilderMode mode = BuilderMode::kModel);
  GraphBuilder(const GraphBuilder&) = delete;
  GraphBuilder& operator=(const GraphBuilder&) = delete;

  llmh_builder* table() { return &table_.base; }
  Graph& graph() { return graph_; }

  // Throwing forms of what the table does with weights and parameters.
  llmh_tensor weight(std::string_view name, std::span<const int64_t> shape, uint32_t flags);
  llmh_tensor parameter(std::string_view name, std::span<const int64_t> shape, const ParameterInit& init);

 private:
  struct Table {
    llmh_builder base;
    GraphBuilder* owner;
  };
  struct Thunks;

  Graph& graph_;
  const WeightLookup& weights_;
  BuilderMode mode_;
  Table table_;
};

}  // namespace llmhost::graph
