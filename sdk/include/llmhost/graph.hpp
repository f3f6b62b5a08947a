// Comfort over llmh_builder: tensors that know their graph, scopes that carry the Hub module path.
// Header-only.
//
//   Scope layer = graph.scope("model.layers", 3);
//   Tensor h = layer.rms_norm("input_layernorm", x, eps);
//   x = x + layer.scope("self_attn").linear("o_proj", attended, hidden_size);
//
// Every call may throw what the host reports (op and module path are in the message). Use from [control]
// calls only.
//
// Graph, Scope and Tensor are light: copy scopes and tensors freely. They point at the Graph, which lives as long as
// the build() or rewrite() that was given it; keep none of them beyond that. Names and attributes are copied by the
// host.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llmhost/op.h"
#include "llmhost/plugin.hpp"

namespace llmh {

class Graph;

// A tensor of a graph under construction. A default-made one stands for an absent optional input: it has no graph, and
// only present() and id() may be asked of it.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Graph* graph, llmh_tensor id) : graph_(graph), id_(id) {}
  bool present() const { return id_ != LLMH_NO_TENSOR; }
  llmh_tensor id() const { return id_; }  // LLMH_NO_TENSOR when absent
  Graph& graph() const { return *graph_; }
  // Size of the innermost dimension, which is constant for all but masks and step inputs; 1 of a scalar.
  int64_t width() const;

 private:
  Graph* graph_ = nullptr;
  llmh_tensor id_ = LLMH_NO_TENSOR;
};

// Whether a module has a bias: as the config says, or as the checkpoint shows.
enum class Bias {
  kNone,      // the module has none
  kRequired,  // the build fails without it
  kIfStored   // used when the checkpoint holds it
};

// An attribute struct of op.h with its size filled in, all else 0: set the fields that matter.
template <typename Attrs>
Attrs make_attrs() {
  Attrs attrs{};
  attrs.struct_size = sizeof(Attrs);
  return attrs;
}

// A place in the module tree, named as the Hub's checkpoints name it: adapters and dumps find modules by these paths.
// Modules made through it are named `<path>.<name>`, their weights `<path>.<name>.weight` and `.bias`. In the shapes
// `...` stands for any leading dimensions, usually the T tokens of a step.
class Scope {
 public:
  Scope(Graph* graph, std::string path) : graph_(graph), path_(std::move(path)) {}
  const std::string& path() const { return path_; }  // empty at the root
  Graph& graph() const { return *graph_; }

  // `<path>.<name>` and `<path>.<name>.<index>`. Adds nothing to the graph.
  Scope scope(std::string_view name) const { return {graph_, join(name)}; }
  Scope scope(std::string_view name, int64_t index) const { return {graph_, join(name) + "." + std::to_string(index)}; }

  // The checkpoint's `<path>.<name>`, for weights that are not `.weight` or `.bias` of a module. `shape` is row-major and
  // must be the stored one; with LLMH_WEIGHT_OPTIONAL an absent weight gives an absent tensor.
  Tensor weight(std::string_view name, const std::vector<int64_t>& shape, uint32_t flags = LLMH_WEIGHT_REQUIRED) const;

  // ids i32 [T] -> [T, width]; the table is the weight [rows, width].
  Tensor embedding(std::string_view name, Tensor ids, int64_t rows, int64_t width) const;
  // x [..., K] -> [..., out_features]; weight [out_features, K], bias [out_features].
  Tensor linear(std::string_view name, Tensor x, int64_t out_features, Bias bias = Bias::kNone) const;
  // The linear map of another module's weight (a tied output head). x [..., K], weight [N, K] -> [..., N].
  Tensor linear_with(std::string_view name, Tensor x, Tensor weight) const;
  // x [..., D] -> [..., D]; weight [D]. The weight that counts is weight_offset + what is stored.
  Tensor rms_norm(std::string_view name, Tensor x, float eps, float weight_offset = 0.0F) const;
  // x [..., D] -> [..., D]; weight and bias [D].
  Tensor layer_norm(std::string_view name, Tensor x, float eps, Bias bias = Bias::kRequired) const;

  // Any op of op.h with one output, at this scope's own path. `attrs` is the op's struct, made by make_attrs().
  template <typename Attrs>
  Tensor op(llmh_op op, const std::vector<Tensor>& inputs, const Attrs& attrs) const;
  Tensor op(llmh_op op, const std::vector<Tensor>& inputs) const;
  // Names an intermediate `<path>.<name>` and returns it.
  Tensor name(std::string_view name, Tensor tensor) const;

 private:
  friend class Graph;
  std::string join(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  }
  Graph* graph_;
  std::string path_;
};

// A graph under construction; wraps the host's builder, which outlives it. Made for one build() or rewrite() by the table
// that wraps the plugin's class; nothing has to be freed.
class Graph {
 public:
  explicit Graph(llmh_builder* builder) : builder_(builder) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Scope root() { return {this, {}}; }
  Scope scope(std::string_view name) { return root().scope(name); }
  Scope scope(std::string_view name, int64_t index) { return root().scope(name, index); }

  // What each step provides, LLMH_INPUT_*: i32 [T] ([R] for the output rows). The same tensor each time.
  Tensor input(int32_t kind) {
    llmh_tensor id = LLMH_NO_TENSOR;
    check(builder_->input(builder_, kind, &id));
    return {this, id};
  }
  // The checkpoint's tensor of this full Hub name; see Scope::weight.
  Tensor weight(std::string_view name, const std::vector<int64_t>& shape, uint32_t flags = LLMH_WEIGHT_REQUIRED) {
    llmh_tensor id = LLMH_NO_TENSOR;
    check(builder_->weight(builder_, str(name), shape.data(), static_cast<int32_t>(shape.size()), flags, &id));
    return {this, id};
  }
  // f32 data held by the graph; copied, as many elements as `shape` has.
  Tensor constant(std::string_view name, const std::vector<int64_t>& shape, const std::vector<float>& data) {
    llmh_tensor id = LLMH_NO_TENSOR;
    check(builder_->constant(builder_, str(name), LLMH_DTYPE_F32, shape.data(), static_cast<int32_t>(shape.size()),
                             data.data(), data.size() * sizeof(float), &id));
    return {this, id};
  }
  // The same of whole numbers: indices for ops that take i32.
  Tensor indices(std::string_view name, const std::vector<int64_t>& shape, const std::vector<int32_t>& data) {
    llmh_tensor id = LLMH_NO_TENSOR;
    check(builder_->constant(builder_, str(name), LLMH_DTYPE_I32, shape.data(), static_cast<int32_t>(shape.size()),
                             data.data(), data.size() * sizeof(int32_t), &id));
    return {this, id};
  }
  // A new trainable f32 tensor; for fine-tuning methods only. `init` is LLMH_INIT_*.
  Tensor parameter(std::string_view name, const std::vector<int64_t>& shape, int32_t init, float init_value = 0.0F) {
    llmh_tensor id = LLMH_NO_TENSOR;
    check(builder_->parameter(builder_, str(name), shape.data(), static_cast<int32_t>(shape.size()), init, init_value,
                              &id));
    return {this, id};
  }
  // The same, which starts at `data`: as many elements as `shape` has.
  Tensor parameter(std::string_view name, const std::vector<int64_t>& shape, const std::vector<float>& data) {
    llmh_tensor id = LLMH_NO_TENSOR;
    check(builder_->parameter_data(builder_, str(name), shape.data(), static_cast<int32_t>(shape.size()), data.data(),
                                   &id));
    return {this, id};
  }
  // Marks a result of the graph: LLMH_OUTPUT_LOGITS f32 [R, V] or LLMH_OUTPUT_HIDDEN f32 [R, D].
  void output(int32_t kind, Tensor tensor) { check(builder_->output(builder_, kind, tensor.id())); }

  // Any op of op.h with `n_outputs` results; `attrs` is its struct ([attrs_size] bytes) or null for ops without. Shapes
  // and types of the results follow from the op.
  std::vector<Tensor> add_node(llmh_op op, std::string_view path, const std::vector<Tensor>& inputs, const void* attrs,
                               uint32_t attrs_size, uint32_t n_outputs) {
    std::vector<llmh_tensor> ids;
    ids.reserve(inputs.size());
    for (const Tensor& t : inputs) ids.push_back(t.id());
    std::vector<llmh_tensor> made(n_outputs, LLMH_NO_TENSOR);
    check(builder_->add_node(builder_, op, str(path), ids.data(), static_cast<uint32_t>(ids.size()), attrs, attrs_size,
                             made.data(), n_outputs));
    std::vector<Tensor> outputs;
    outputs.reserve(made.size());
    for (const llmh_tensor id : made) outputs.emplace_back(this, id);
    return outputs;
  }
  // For dumps and layer-by-layer comparison; a tensor has one name.
  void name(Tensor tensor, std::string_view text) { check(builder_->name(builder_, tensor.id(), str(text))); }
  // Type and shape. Valid until the next call that adds to the graph: take what is needed at once.
  const llmh_tensor_info& info(Tensor tensor) const {
    const llmh_tensor_info* found = builder_->info(builder_, tensor.id());
    if (found == nullptr) throw Error(LLMH_INTERNAL, "no such tensor in this graph");
    return *found;
  }

 private:
  llmh_builder* builder_;
};

inline int64_t Tensor::width() const {
  const llmh_tensor_info& info = graph_->info(*this);
  return info.rank == 0 ? 1 : info.dims[info.rank - 1].size;
}

template <typename Attrs>
Tensor Scope::op(llmh_op op, const std::vector<Tensor>& inputs, const Attrs& attrs) const {
  return graph_->add_node(op, path_, inputs, &attrs, sizeof(Attrs), 1)[0];
}

inline Tensor Scope::op(llmh_op op, const std::vector<Tensor>& inputs) const {
  return graph_->add_node(op, path_, inputs, nullptr, 0, 1)[0];
}

inline Tensor Scope::weight(std::string_view name, const std::vector<int64_t>& shape, uint32_t flags) const {
  return graph_->weight(join(name), shape, flags);
}

inline Tensor Scope::embedding(std::string_view name, Tensor ids, int64_t rows, int64_t width) const {
  const Scope module = scope(name);
  return module.op(LLMH_OP_EMBEDDING, {module.weight("weight", {rows, width}), ids});
}

inline Tensor Scope::linear(std::string_view name, Tensor x, int64_t out_features, Bias bias) const {
  const Scope module = scope(name);
  std::vector<Tensor> inputs{x, module.weight("weight", {out_features, x.width()})};
  if (bias != Bias::kNone) {
    const uint32_t flags = bias == Bias::kIfStored ? LLMH_WEIGHT_OPTIONAL : LLMH_WEIGHT_REQUIRED;
    inputs.push_back(module.weight("bias", {out_features}, flags));
  }
  return module.op(LLMH_OP_LINEAR, inputs);
}

inline Tensor Scope::linear_with(std::string_view name, Tensor x, Tensor weight) const {
  return scope(name).op(LLMH_OP_LINEAR, {x, weight});
}

inline Tensor Scope::rms_norm(std::string_view name, Tensor x, float eps, float weight_offset) const {
  const Scope module = scope(name);
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = eps;
  attrs.weight_offset = weight_offset;
  return module.op(LLMH_OP_RMS_NORM, {x, module.weight("weight", {x.width()})}, attrs);
}

inline Tensor Scope::layer_norm(std::string_view name, Tensor x, float eps, Bias bias) const {
  const Scope module = scope(name);
  auto attrs = make_attrs<llmh_norm_attrs>();
  attrs.eps = eps;
  std::vector<Tensor> inputs{x, module.weight("weight", {x.width()})};
  if (bias != Bias::kNone) {
    const uint32_t flags = bias == Bias::kIfStored ? LLMH_WEIGHT_OPTIONAL : LLMH_WEIGHT_REQUIRED;
    inputs.push_back(module.weight("bias", {x.width()}, flags));
  }
  return module.op(LLMH_OP_LAYER_NORM, inputs, attrs);
}

inline Tensor Scope::name(std::string_view name, Tensor tensor) const {
  graph_->name(tensor, join(name));
  return tensor;
}

// --- Arithmetic
// ---------------------------------------------------------------------------------------------------
// At the root's empty path: these stand for lines of a module, not for modules. Of present tensors of one graph.

// Elementwise, f32. Dimensions align at the end; 1 or absent ones stretch: [T, D] + [D] -> [T, D].
inline Tensor operator+(Tensor a, Tensor b) {
  return a.graph().root().op(LLMH_OP_ADD, {a, b});
}
inline Tensor operator-(Tensor a, Tensor b) {
  return a.graph().root().op(LLMH_OP_SUB, {a, b});
}
inline Tensor operator*(Tensor a, Tensor b) {
  return a.graph().root().op(LLMH_OP_MUL, {a, b});
}

// x * factor, of the same shape.
inline Tensor scale(Tensor x, float factor) {
  auto attrs = make_attrs<llmh_scalar_attrs>();
  attrs.value = factor;
  return x.graph().root().op(LLMH_OP_SCALE, {x}, attrs);
}

// cap * tanh(x / cap), of the same shape; cap > 0.
inline Tensor softcap(Tensor x, float cap) {
  auto attrs = make_attrs<llmh_scalar_attrs>();
  attrs.value = cap;
  return x.graph().root().op(LLMH_OP_SOFTCAP, {x}, attrs);
}

// Elementwise, of the same shape; `kind` is LLMH_ACT_*.
inline Tensor activation(Tensor x, int32_t kind) {
  auto attrs = make_attrs<llmh_activation_attrs>();
  attrs.kind = kind;
  return x.graph().root().op(LLMH_OP_ACTIVATION, {x}, attrs);
}

// act(gate) * up, all three of one shape; `kind` is LLMH_ACT_*.
inline Tensor gated_activation(Tensor gate, Tensor up, int32_t kind) {
  auto attrs = make_attrs<llmh_activation_attrs>();
  attrs.kind = kind;
  return gate.graph().root().op(LLMH_OP_GATED_ACTIVATION, {gate, up}, attrs);
}

// Rows of x by index: x [N, ...], ids i32 [M] -> [M, ...], of x's type.
inline Tensor gather_rows(Tensor x, Tensor ids) {
  return x.graph().root().op(LLMH_OP_GATHER, {x, ids});
}

}  // namespace llmh
