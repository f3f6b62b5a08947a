#include "train/tuned_graph.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "core/error.h"
#include "graph/emit.h"
#include "graph/fuse.h"

namespace llmhost::train {
namespace {

using graph::AdapterSite;
using graph::to_view;

// The checkpoint as rewrites see it.
class StoredWeights final : public graph::WeightLookup {
 public:
  explicit StoredWeights(const ChosenModules& chosen) : chosen_(chosen) {}
  std::optional<graph::WeightInfo> find(std::string_view name) const override {
    const auto found = chosen_.model.tensors().find(name);
    if (found == chosen_.model.tensors().end()) return std::nullopt;
    return graph::WeightInfo{chosen_.base.dtype(name, LLMH_USE_LINEAR), found->second.shape};
  }

 private:
  const ChosenModules& chosen_;
};

// Which weights become parameters, by module: a weight that two modules share may be trained at one only.
class TrainedWeights {
 public:
  explicit TrainedWeights(const ChosenModules& chosen) : chosen_(chosen) {
    for (size_t i = 0; i < chosen.modules.size(); ++i) add_module(i);
  }

  // The parameter that stands for the weight where this module reads it, or null.
  const Method::Tuned::FromWeight* find(size_t module, std::string_view weight) const {
    const auto found = by_use_.find(std::pair(module, std::string(weight)));
    return found == by_use_.end() ? nullptr : &found->second;
  }

 private:
  void add_module(size_t index) {
    const AdapterSite& module = chosen_.modules[index];
    const uint32_t choice = chosen_.choices[index];
    const bool is_fixed = module.kind == LLMH_MODULE_FIXED;
    if ((choice & LLMH_TUNE_REWRITE) != 0 && module.kind != LLMH_MODULE_LINEAR &&
        module.kind != LLMH_MODULE_EMBEDDING)
      throw_error(ErrorCode::kUnimplemented,
                  "module '{}' is neither a linear nor an embedding: it has no rewrite", module.path);
    if ((choice & LLMH_TUNE_WEIGHT) != 0) {
      for (const std::string& weight : module.weights)
        if (is_fixed || weight == module.weight_name) add_weight(index, weight, choice);
    }
    const bool has_own_bias = (choice & LLMH_TUNE_BIAS) != 0 && !module.bias_name.empty();
    if (has_own_bias) add(index, module.bias_name, module.bias_name, module.bias_name);
  }

  void add_weight(size_t index, const std::string& weight, uint32_t choice) {
    const bool is_untied = (choice & LLMH_TUNE_UNTIED) != 0;
    bool others_keep_it = false;
    for (size_t other = 0; other < chosen_.modules.size(); ++other) {
      const AdapterSite& module = chosen_.modules[other];
      if (other == index || std::ranges::find(module.weights, weight) == module.weights.end()) continue;
      const uint32_t others = chosen_.choices[other];
      const bool is_tied = (others & LLMH_TUNE_WEIGHT) != 0 && (others & LLMH_TUNE_UNTIED) == 0;
      if (!is_untied && !is_tied)
        throw_invalid(
            "module '{}' shares its weight '{}' with '{}', which is not trained: choose both, or a copy of "
            "its own",
            chosen_.modules[index].path, weight, module.path);
      others_keep_it = true;
    }
    if (!is_untied || !others_keep_it) return add(index, weight, weight, weight);
    const std::string name = chosen_.modules[index].path + ".weight";
    // The shared one may have this very name and stay in the graph.
    add(index, weight, name, name == weight ? name + ".untied" : name);
  }

  void add(size_t index, const std::string& weight, const std::string& name, const std::string& parameter) {
    by_use_.emplace(std::pair(index, weight), Method::Tuned::FromWeight{parameter, name, weight});
  }

  const ChosenModules& chosen_;
  std::map<std::pair<size_t, std::string>, Method::Tuned::FromWeight> by_use_;
};

class TunedGraph {
 public:
  TunedGraph(const ChosenModules& chosen, const MethodCalls& calls)
      : chosen_(chosen),
        calls_(calls),
        source_(chosen.model.graph()),
        trained_(chosen),
        lookup_(chosen),
        rewriter_(source_),
        builder_(rewriter_.target(), lookup_, graph::BuilderMode::kRewrite) {}

  Method::Tuned run() && {
    for (uint32_t i = 0; i < source_.node_count(); ++i) add_node(i);
    Method::Tuned tuned;
    tuned.graph = graph::eliminate_dead(rewriter_.finish());
    for (uint32_t t = 0; t < tuned.graph.tensor_count(); ++t)
      hold_as_base(tuned.graph, static_cast<llmh_tensor>(t));
    tuned.from_weights = std::move(used_);
    std::erase_if(tuned.from_weights,
                  [&](const auto& from) { return tuned.graph.find(from.parameter) == LLMH_NO_TENSOR; });
    return tuned;
  }

 private:
  static constexpr size_t kNoModule = SIZE_MAX;

  void add_node(uint32_t index) {
    const llmh_node& node = source_.node(index);
    const size_t module = chosen_.by_node[index];
    const std::vector<llmh_tensor> inputs = inputs_for(node, module);
    std::vector<llmh_tensor> outputs;
    if (node.op == LLMH_OP_ATTENTION) {
      llmh_attention_attrs attrs = graph::attrs_of<llmh_attention_attrs>(node);
      attrs.top_k_ratio = calls_.attention(node.path, attrs.top_k_ratio);
      outputs = target().add_node(node.op, to_view(node.path), inputs, &attrs, sizeof attrs);
    } else {
      outputs = target().add_node(node.op, to_view(node.path), inputs, node.attrs, node.attrs_size);
    }
    const bool is_rewritten = module != kNoModule && (chosen_.choices[module] & LLMH_TUNE_REWRITE) != 0;
    if (is_rewritten) outputs.front() = rewrite(node, module, inputs, outputs.front());
    for (size_t k = 0; k < outputs.size(); ++k) rewriter_.replace(node.outputs[k], outputs[k]);
  }

  // What stands for the node's inputs in the new graph: a trained weight's parameter, activations in the
  // precision of the product.
  std::vector<llmh_tensor> inputs_for(const llmh_node& node, size_t module) {
    std::vector<llmh_tensor> inputs;
    for (const llmh_tensor input : graph::inputs_of(node)) inputs.push_back(input_for(input, module));
    if (module == kNoModule || node.op != LLMH_OP_LINEAR) return inputs;
    const bool is_rounded = chosen_.compute_dtype != LLMH_DTYPE_F32 &&
                            target().tensor(inputs[1]).role == LLMH_TENSOR_WEIGHT &&
                            chosen_.base.is_low_precision(to_view(target().tensor(inputs[1]).name));
    if (is_rounded) inputs[0] = rounded(inputs[0], to_view(node.path));
    return inputs;
  }

  llmh_tensor input_for(llmh_tensor input, size_t module) {
    if (input == LLMH_NO_TENSOR) return input;
    const llmh_tensor_info& info = source_.tensor(input);
    if (info.role != LLMH_TENSOR_WEIGHT || module == kNoModule) return rewriter_.map(input);
    const Method::Tuned::FromWeight* const from = trained_.find(module, to_view(info.name));
    if (from == nullptr) return rewriter_.map(input);
    const llmh_tensor known = target().find(from->parameter);
    if (known != LLMH_NO_TENSOR) return known;
    used_.push_back(*from);
    std::vector<int64_t> shape;
    for (const llmh_dim& dim : graph::dims_of(info)) shape.push_back(dim.size);
    return target().add_parameter(from->parameter, shape, {LLMH_INIT_ZEROS, 0, {}});
  }

  // Modules that read the same activation share what it is rounded to.
  llmh_tensor rounded(llmh_tensor x, std::string_view path) {
    const auto [known, is_new] = rounded_.emplace(x, LLMH_NO_TENSOR);
    if (is_new) {
      graph::Emit emit(target(), path);
      known->second = emit.cast(emit.cast(x, chosen_.compute_dtype), LLMH_DTYPE_F32);
    }
    return known->second;
  }

  llmh_tensor rewrite(const llmh_node& node, size_t module, const std::vector<llmh_tensor>& inputs,
                      llmh_tensor output) {
    const AdapterSite& site = chosen_.modules[module];
    const bool is_lookup = node.op == LLMH_OP_EMBEDDING;
    const size_t weight = is_lookup ? 0 : 1;
    llmh_linear_info info{};
    info.struct_size = sizeof info;
    info.kind = site.kind;
    info.module = static_cast<uint32_t>(module);
    info.path = graph::to_str(site.path);
    info.in_features = site.in_features;
    info.out_features = site.out_features;
    info.weight_dtype = chosen_.base.dtype(site.weight_name, is_lookup ? LLMH_USE_TABLE : LLMH_USE_LINEAR);
    info.x = is_lookup ? inputs[1] : rewriter_.map(node.inputs[0]);
    info.weight = inputs[weight];
    info.bias = inputs.size() > 2 ? inputs[2] : LLMH_NO_TENSOR;
    info.y = output;
    const llmh_tensor result = calls_.rewrite(builder_.table(), info);
    const auto expected = graph::type_of(target().tensor(output));
    const auto given = graph::type_of(target().tensor(result));
    if (!graph::same_dims(expected.dims, given.dims) || given.dtype != expected.dtype)
      throw_error(ErrorCode::kInternal, "the rewrite of '{}' gives {}{}, the module gives {}{}", site.path,
                  graph::dtype_name(given.dtype), graph::to_text(given.dims),
                  graph::dtype_name(expected.dtype), graph::to_text(expected.dims));
    return result;
  }

  // Weights in the graph have the type that the base is held in.
  void hold_as_base(graph::Graph& tuned, llmh_tensor tensor) const {
    const llmh_tensor_info& info = tuned.tensor(tensor);
    if (info.role != LLMH_TENSOR_WEIGHT || !chosen_.base.is_quantised(to_view(info.name))) return;
    tuned.set_weight_dtype(tensor, chosen_.base.dtype(to_view(info.name), LLMH_USE_LINEAR));
  }

  graph::Graph& target() { return rewriter_.target(); }

  const ChosenModules& chosen_;
  const MethodCalls& calls_;
  const graph::Graph& source_;
  TrainedWeights trained_;
  StoredWeights lookup_;
  graph::Rewriter rewriter_;
  graph::GraphBuilder builder_;
  std::vector<Method::Tuned::FromWeight> used_;
  std::map<llmh_tensor, llmh_tensor> rounded_;
};

}  // namespace

Method::Tuned tuned_graph(const ChosenModules& chosen, const MethodCalls& calls) {
  return TunedGraph(chosen, calls).run();
}

}  // namespace llmhost::train
