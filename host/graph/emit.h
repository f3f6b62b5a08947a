// Short forms for adding nodes to a graph from C++: what decompositions and graph-to-graph passes are written
// in.
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace llmhost::graph {

// Every function adds one node at `path` and returns its first output.
class Emit {
 public:
  Emit(Graph& graph, std::string_view path) : graph_(graph), path_(path) {}

  llmh_tensor op(llmh_op op, std::initializer_list<llmh_tensor> inputs);
  template <typename Attrs>
  llmh_tensor op(llmh_op op, std::initializer_list<llmh_tensor> inputs, const Attrs& attrs) {
    return with_attrs(op, std::span<const llmh_tensor>(inputs.begin(), inputs.size()), &attrs, sizeof(attrs));
  }

  llmh_tensor add(llmh_tensor a, llmh_tensor b) { return op(LLMH_OP_ADD, {a, b}); }
  llmh_tensor sub(llmh_tensor a, llmh_tensor b) { return op(LLMH_OP_SUB, {a, b}); }
  llmh_tensor mul(llmh_tensor a, llmh_tensor b) { return op(LLMH_OP_MUL, {a, b}); }
  llmh_tensor div(llmh_tensor a, llmh_tensor b) { return op(LLMH_OP_DIV, {a, b}); }
  llmh_tensor add(llmh_tensor a, float b) { return add(a, graph_.scalar(b)); }
  llmh_tensor sub(llmh_tensor a, float b) { return sub(a, graph_.scalar(b)); }
  llmh_tensor mul(llmh_tensor a, float b) { return mul(a, graph_.scalar(b)); }
  llmh_tensor div(llmh_tensor a, float b) { return div(a, graph_.scalar(b)); }
  llmh_tensor unary(int32_t kind, llmh_tensor x);
  llmh_tensor reduce(int32_t kind, llmh_tensor x);
  llmh_tensor matmul(llmh_tensor a, llmh_tensor b, bool transpose_b);
  llmh_tensor reshape(llmh_tensor x, const Dims& dims);
  llmh_tensor broadcast(llmh_tensor x, const Dims& dims);
  llmh_tensor reduce_to(llmh_tensor x, const Dims& dims);
  llmh_tensor scatter_add(llmh_tensor x, llmh_tensor ids, const Dims& dims);
  llmh_tensor pad(llmh_tensor x, size_t axis, int64_t begin, int64_t size);
  llmh_tensor permute(llmh_tensor x, std::span<const int32_t> axes);
  llmh_tensor permute(llmh_tensor x, std::initializer_list<int32_t> axes);
  llmh_tensor slice(llmh_tensor x, size_t axis, int64_t begin, int64_t end);
  llmh_tensor concat(std::span<const llmh_tensor> parts, size_t axis);
  llmh_tensor concat(std::initializer_list<llmh_tensor> parts, size_t axis);
  llmh_tensor gather(llmh_tensor x, llmh_tensor ids) { return op(LLMH_OP_GATHER, {x, ids}); }
  llmh_tensor cast(llmh_tensor x, llmh_dtype dtype);  // x itself when it has the type already
  // Composite.
  llmh_tensor activation(int32_t kind, llmh_tensor x);
  llmh_tensor scale(llmh_tensor x, float value);
  llmh_tensor activation_grad(int32_t kind, llmh_tensor x, llmh_tensor dy);

  // A node with any number of outputs.
  std::vector<llmh_tensor> node(llmh_op op, std::span<const llmh_tensor> inputs, const void* attrs,
                                size_t attrs_size);

  Dims dims(llmh_tensor tensor) const;
  Graph& graph() { return graph_; }

 private:
  llmh_tensor with_attrs(llmh_op op, std::span<const llmh_tensor> inputs, const void* attrs, size_t size);

  Graph& graph_;
  std::string_view path_;
};

}  // namespace llmhost::graph
