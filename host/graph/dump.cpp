#include "graph/dump.h"

#include <fmt/format.h>

#include "graph/op_registry.h"

namespace llmhost::graph {
namespace {

std::string type_text(const llmh_tensor_info& info) {
  return dtype_name(info.dtype) + to_text(dims_of(info));
}

// "{a=1 b=2}" from pairs; fields that are zero are left out.
class Fields {
 public:
  void add(std::string_view name, int32_t value) {
    if (value != 0) append(name, fmt::format("{}", value));
  }
  void add(std::string_view name, float value) {
    if (value != 0) append(name, fmt::format("{}", value));
  }
  void append(std::string_view name, const std::string& value) {
    text_ += fmt::format("{}{}={}", text_.empty() ? "" : " ", name, value);
  }
  std::string text() const { return text_.empty() ? "" : " {" + text_ + "}"; }

 private:
  std::string text_;
};

void add_factors(Fields& fields, std::string_view name, const float* factors, int32_t count) {
  if (factors != nullptr) fields.append(name, fmt::format("[{}]", fmt::join(factors, factors + count, " ")));
}

Fields rope_angles_fields(const llmh_rope_angles_attrs& attrs) {
  Fields fields;
  fields.add("rotary_dim", attrs.rotary_dim);
  fields.add("theta", attrs.theta);
  fields.add("scaling", attrs.scaling);
  fields.add("factor", attrs.factor);
  fields.add("original_context", attrs.original_context);
  fields.add("low_freq_factor", attrs.low_freq_factor);
  fields.add("high_freq_factor", attrs.high_freq_factor);
  fields.add("beta_fast", attrs.beta_fast);
  fields.add("beta_slow", attrs.beta_slow);
  fields.add("attention_factor", attrs.attention_factor);
  fields.add("truncate", attrs.truncate);
  add_factors(fields, "short_factors", attrs.short_factors, attrs.rotary_dim / 2);
  add_factors(fields, "long_factors", attrs.long_factors, attrs.rotary_dim / 2);
  return fields;
}

template <typename Attrs>
void add_visibility(Fields& fields, const Attrs& attrs) {
  fields.add("window", attrs.window);
  fields.add("chunk", attrs.chunk);
  fields.add("block_size", attrs.block_size);
  if (attrs.block_size == 0) return;
  fields.add("local_blocks", attrs.local_blocks);
  fields.add("vertical_stride", attrs.vertical_stride);
  fields.add("head_step", attrs.head_step);
}

Fields attention_fields(const llmh_attention_attrs& attrs) {
  Fields fields;
  fields.append("slot", std::to_string(attrs.slot));
  fields.add("n_heads", attrs.n_heads);
  fields.add("n_kv_heads", attrs.n_kv_heads);
  fields.add("k_head_dim", attrs.k_head_dim);
  fields.add("v_head_dim", attrs.v_head_dim);
  fields.add("scale", attrs.scale);
  fields.add("softcap", attrs.softcap);
  fields.add("causal", attrs.causal);
  add_visibility(fields, attrs);
  fields.add("top_k_ratio", attrs.top_k_ratio);
  return fields;
}

Fields rope_fields(const llmh_rope_attrs& attrs) {
  Fields fields;
  fields.add("n_heads", attrs.n_heads);
  fields.add("head_dim", attrs.head_dim);
  fields.add("rotary_dim", attrs.rotary_dim);
  fields.append("style", attrs.style == LLMH_ROPE_HALVES ? "halves" : "interleaved");
  return fields;
}

template <typename Attrs>
Fields kind_field(const llmh_node& node, std::initializer_list<std::string_view> names) {
  Fields fields;
  const auto kind = static_cast<size_t>(attrs_of<Attrs>(node).kind);
  fields.append("kind", kind >= 1 && kind <= names.size() ? std::string(names.begin()[kind - 1])
                                                          : std::to_string(kind));
  return fields;
}

Fields activation_field(const llmh_node& node) {
  return kind_field<llmh_activation_attrs>(
      node, {"silu", "gelu", "gelu_tanh", "relu", "relu_squared", "sigmoid", "tanh", "gelu_quick"});
}

Fields state_fields(const llmh_node& node) {
  const auto& attrs = attrs_of<llmh_state_attrs>(node);
  Fields fields;
  fields.append("slot", std::to_string(attrs.slot));
  if (node.op == LLMH_OP_STATE_READ) fields.append("part", attrs.part == LLMH_PART_KEYS ? "keys" : "values");
  return fields;
}

Fields movement_fields(const llmh_node& node) {
  Fields fields;
  if (node.op == LLMH_OP_PERMUTE) {
    const auto& attrs = attrs_of<llmh_permute_attrs>(node);
    fields.append("axes", fmt::format("[{}]", fmt::join(attrs.axes, attrs.axes + attrs.rank, " ")));
  } else if (node.op == LLMH_OP_SLICE) {
    const auto& attrs = attrs_of<llmh_slice_attrs>(node);
    fields.append("axis", std::to_string(attrs.axis));
    fields.append("range", fmt::format("[{},{})", attrs.begin, attrs.end));
  } else if (node.op == LLMH_OP_PAD) {
    const auto& attrs = attrs_of<llmh_pad_attrs>(node);
    fields.append("axis", std::to_string(attrs.axis));
    fields.append("begin", std::to_string(attrs.begin));
  } else {
    fields.append("axis", std::to_string(attrs_of<llmh_axis_attrs>(node).axis));
  }
  return fields;
}

Fields norm_fields(const llmh_norm_attrs& attrs) {
  Fields fields;
  fields.add("eps", attrs.eps);
  fields.add("weight_offset", attrs.weight_offset);
  fields.add("adapter_site", attrs.adapter_site);
  return fields;
}

Fields mask_fields(const llmh_mask_attrs& attrs) {
  Fields fields;
  fields.add("causal", attrs.causal);
  add_visibility(fields, attrs);
  fields.add("n_heads", attrs.n_heads);
  return fields;
}

Fields training_fields(const llmh_node& node) {
  Fields fields;
  switch (node.op) {
    case LLMH_OP_RMS_NORM_GRAD:
    case LLMH_OP_RMS_NORM_WEIGHT_GRAD:
    case LLMH_OP_LAYER_NORM_GRAD:
    case LLMH_OP_LAYER_NORM_WEIGHT_GRAD:
      return norm_fields(attrs_of<llmh_norm_attrs>(node));
    case LLMH_OP_ATTENTION_TRAIN:
    case LLMH_OP_ATTENTION_GRAD:
      return attention_fields(attrs_of<llmh_attention_attrs>(node));
    case LLMH_OP_ACTIVATION_GRAD:
    case LLMH_OP_GATED_ACTIVATION_GRAD:
      return activation_field(node);
    case LLMH_OP_LOW_RANK_ROW_NORMS:
      fields.add("value", attrs_of<llmh_scalar_attrs>(node).value);
      return fields;
    case LLMH_OP_PAD:
      return movement_fields(node);
    case LLMH_OP_DROPOUT:
      fields.add("p", attrs_of<llmh_dropout_attrs>(node).p);
      fields.append("site", std::to_string(attrs_of<llmh_dropout_attrs>(node).site));
      return fields;
    case LLMH_OP_LINEAR_CROSS_ENTROPY:
      fields.add("value", attrs_of<llmh_head_attrs>(node).value);
      fields.add("softcap", attrs_of<llmh_head_attrs>(node).softcap);
      return fields;
    default:
      return fields;
  }
}

Fields fields_of(const llmh_node& node) {
  Fields fields;
  switch (node.op) {
    case LLMH_OP_RMS_NORM:
    case LLMH_OP_LAYER_NORM:
    case LLMH_OP_ADD_RMS_NORM:
      return norm_fields(attrs_of<llmh_norm_attrs>(node));
    case LLMH_OP_LORA_LINEAR:
    case LLMH_OP_LORA_EMBEDDING:
      fields.add("adapter_site", attrs_of<llmh_site_attrs>(node).adapter_site);
      return fields;
    case LLMH_OP_ROPE:
      return rope_fields(attrs_of<llmh_rope_attrs>(node));
    case LLMH_OP_ATTENTION:
      return attention_fields(attrs_of<llmh_attention_attrs>(node));
    case LLMH_OP_ACTIVATION:
    case LLMH_OP_GATED_ACTIVATION:
      return activation_field(node);
    case LLMH_OP_SOFTCAP:
    case LLMH_OP_SCALE:
      fields.add("value", attrs_of<llmh_scalar_attrs>(node).value);
      return fields;
    case LLMH_OP_UNARY:
      return kind_field<llmh_unary_attrs>(node, {"neg", "exp", "log", "sqrt", "rsqrt", "tanh", "sigmoid",
                                                 "erf", "relu", "abs", "square", "sin", "cos", "step"});
    case LLMH_OP_REDUCE:
      return kind_field<llmh_reduce_attrs>(node, {"sum", "mean", "max"});
    case LLMH_OP_TOP_K:
    case LLMH_OP_TOP_K_MASK:
      fields.add("k", attrs_of<llmh_top_k_attrs>(node).k);
      return fields;
    case LLMH_OP_CLAMP:
      fields.append("min", fmt::format("{}", attrs_of<llmh_clamp_attrs>(node).min));
      fields.append("max", fmt::format("{}", attrs_of<llmh_clamp_attrs>(node).max));
      return fields;
    case LLMH_OP_MATMUL:
      fields.add("transpose_b", attrs_of<llmh_matmul_attrs>(node).transpose_b);
      return fields;
    case LLMH_OP_PERMUTE:
    case LLMH_OP_SLICE:
    case LLMH_OP_CONCAT:
      return movement_fields(node);
    case LLMH_OP_ROPE_ANGLES:
      return rope_angles_fields(attrs_of<llmh_rope_angles_attrs>(node));
    case LLMH_OP_STATE_WRITE:
    case LLMH_OP_STATE_READ:
      return state_fields(node);
    case LLMH_OP_ATTENTION_MASK:
      return mask_fields(attrs_of<llmh_mask_attrs>(node));
    default:
      return training_fields(node);
  }
}

std::string operand_text(const Graph& graph, llmh_tensor tensor) {
  if (tensor == LLMH_NO_TENSOR) return "-";
  const llmh_tensor_info& info = graph.tensor(tensor);
  if (info.role == LLMH_TENSOR_CONSTANT && info.rank == 0 && info.dtype == LLMH_DTYPE_F32)
    return fmt::format("{}", *static_cast<const float*>(info.data));
  if (info.role == LLMH_TENSOR_ACTIVATION) return fmt::format("%{}", tensor);
  return fmt::format("{} {}", to_view(info.name), type_text(info));
}

}  // namespace

std::string dump_node(const Graph& graph, uint32_t index) {
  const llmh_node& node = graph.node(index);
  std::string line;
  for (const llmh_tensor output : outputs_of(node)) {
    line += fmt::format("{}%{} {}", line.empty() ? "" : ", ", output, type_text(graph.tensor(output)));
    if (!graph.has_default_name(output)) line += fmt::format(" '{}'", to_view(graph.tensor(output).name));
  }
  line += fmt::format("{}{}(", line.empty() ? "" : " = ", op_name(node.op));
  for (uint32_t i = 0; i < node.n_inputs; ++i)
    line += (i == 0 ? "" : ", ") + operand_text(graph, node.inputs[i]);
  line += ")";
  if (node.path.len > 0) line += fmt::format(" @ {}", to_view(node.path));
  return line + fields_of(node).text();
}

std::string dump(const Graph& graph) {
  std::string text;
  for (uint32_t i = 0; i < graph.node_count(); ++i) text += dump_node(graph, i) + "\n";
  const llmh_graph& view = graph.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    text += fmt::format("output {} %{}\n",
                        view.outputs[i]->kind == LLMH_OUTPUT_LOGITS   ? "logits"
                        : view.outputs[i]->kind == LLMH_OUTPUT_HIDDEN ? "hidden"
                        : view.outputs[i]->kind == LLMH_OUTPUT_LOSS   ? "loss"
                                                                      : std::to_string(view.outputs[i]->kind),
                        view.outputs[i]->tensor);
  return text;
}

}  // namespace llmhost::graph
