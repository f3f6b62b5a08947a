#include "graph/op_registry.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "graph/decompose.h"
#include "graph/shapes.h"

namespace llmhost::graph {
namespace {

constexpr size_t kMaxConcat = 16;

template <typename Attrs>
constexpr auto kSize = static_cast<uint32_t>(sizeof(Attrs));

constexpr OpSpec kOps[] = {
    {LLMH_OP_EMBEDDING, "embedding", "table ids", 1, 0, shapes::embedding, parts::embedding},
    {LLMH_OP_LINEAR, "linear", "x weight bias?", 1, 0, shapes::linear, parts::linear},
    {LLMH_OP_RMS_NORM, "rms_norm", "x weight?", 1, kSize<llmh_norm_attrs>, shapes::norm, parts::rms_norm},
    {LLMH_OP_LAYER_NORM, "layer_norm", "x weight? bias?", 1, kSize<llmh_norm_attrs>, shapes::norm,
     parts::layer_norm},
    {LLMH_OP_ROPE, "rope", "x cos sin", 1, kSize<llmh_rope_attrs>, shapes::rope, parts::rope},
    {LLMH_OP_ATTENTION, "attention", "q k v alibi_slopes? sinks?", 1, kSize<llmh_attention_attrs>,
     shapes::attention, parts::attention},
    {LLMH_OP_ACTIVATION, "activation", "x", 1, kSize<llmh_activation_attrs>, shapes::activation,
     parts::activation},
    {LLMH_OP_GATED_ACTIVATION, "gated_activation", "gate up", 1, kSize<llmh_activation_attrs>,
     shapes::gated_activation, parts::gated_activation},
    {LLMH_OP_SOFTCAP, "softcap", "x", 1, kSize<llmh_scalar_attrs>, shapes::softcap, parts::softcap},
    {LLMH_OP_SCALE, "scale", "x", 1, kSize<llmh_scalar_attrs>, shapes::like_input, parts::scale},
    {LLMH_OP_SOFTMAX, "softmax", "x", 1, 0, shapes::like_input, parts::softmax},
    {LLMH_OP_ADD_RMS_NORM, "add_rms_norm", "a b weight?", 2, kSize<llmh_norm_attrs>, shapes::add_norm,
     parts::add_rms_norm},
    {LLMH_OP_EXPERT_LINEAR, "expert_linear", "x weight ids bias?", 1, 0, shapes::expert_linear,
     parts::expert_linear},
    {LLMH_OP_LORA_LINEAR, "lora_linear", "x weight bias?", 1, kSize<llmh_site_attrs>, shapes::lora_linear,
     nullptr},
    {LLMH_OP_LORA_EMBEDDING, "lora_embedding", "table ids", 1, kSize<llmh_site_attrs>, shapes::lora_embedding,
     nullptr},
    {LLMH_OP_ADD, "add", "a b", 1, 0, shapes::binary, nullptr},
    {LLMH_OP_SUB, "sub", "a b", 1, 0, shapes::binary, nullptr},
    {LLMH_OP_MUL, "mul", "a b", 1, 0, shapes::binary, nullptr},
    {LLMH_OP_DIV, "div", "a b", 1, 0, shapes::binary, nullptr},
    {LLMH_OP_UNARY, "unary", "x", 1, kSize<llmh_unary_attrs>, shapes::unary, nullptr},
    {LLMH_OP_REDUCE, "reduce", "x", 1, kSize<llmh_reduce_attrs>, shapes::reduce, nullptr},
    {LLMH_OP_MATMUL, "matmul", "a b", 1, kSize<llmh_matmul_attrs>, shapes::matmul, nullptr},
    {LLMH_OP_RESHAPE, "reshape", "x", 1, kSize<llmh_shape_attrs>, shapes::reshape, nullptr},
    {LLMH_OP_PERMUTE, "permute", "x", 1, kSize<llmh_permute_attrs>, shapes::permute, nullptr},
    {LLMH_OP_SLICE, "slice", "x", 1, kSize<llmh_slice_attrs>, shapes::slice, nullptr},
    {LLMH_OP_CONCAT, "concat", "x...", 1, kSize<llmh_axis_attrs>, shapes::concat, nullptr},
    {LLMH_OP_BROADCAST, "broadcast", "x", 1, kSize<llmh_shape_attrs>, shapes::broadcast, nullptr},
    {LLMH_OP_GATHER, "gather", "x ids", 1, 0, shapes::gather, nullptr},
    {LLMH_OP_CAST, "cast", "x", 1, kSize<llmh_cast_attrs>, shapes::cast, nullptr},
    {LLMH_OP_ROPE_ANGLES, "rope_angles", "positions rope_lengths freq_factors?", 2,
     kSize<llmh_rope_angles_attrs>, shapes::rope_angles, nullptr},
    {LLMH_OP_STATE_WRITE, "state_write", "k v", 0, kSize<llmh_state_attrs>, shapes::state_write, nullptr},
    {LLMH_OP_STATE_READ, "state_read", "", 1, kSize<llmh_state_attrs>, shapes::state_read, nullptr},
    {LLMH_OP_ATTENTION_MASK, "attention_mask", "", 1, kSize<llmh_mask_attrs>, shapes::mask, nullptr},
    {LLMH_OP_ATTENTION_DISTANCE, "attention_distance", "", 1, 0, shapes::distance, nullptr},
    {LLMH_OP_TOP_K, "top_k", "x", 2, kSize<llmh_top_k_attrs>, shapes::top_k, nullptr},
    {LLMH_OP_TOP_K_MASK, "top_k_mask", "x", 1, kSize<llmh_top_k_attrs>, shapes::top_k, nullptr},
    {LLMH_OP_TAKE, "take", "x ids", 1, 0, shapes::take, nullptr},
    {LLMH_OP_CLAMP, "clamp", "x", 1, kSize<llmh_clamp_attrs>, shapes::clamp, nullptr},
    // Training.
    {LLMH_OP_REDUCE_TO, "reduce_to", "x", 1, kSize<llmh_shape_attrs>, shapes::reduce_to, nullptr},
    {LLMH_OP_PAD, "pad", "x", 1, kSize<llmh_pad_attrs>, shapes::pad, nullptr},
    {LLMH_OP_SCATTER_ADD, "scatter_add", "x ids", 1, kSize<llmh_shape_attrs>, shapes::scatter_add, nullptr},
    {LLMH_OP_SCATTER_LAST, "scatter_last", "x ids", 1, kSize<llmh_width_attrs>, shapes::scatter_last,
     nullptr},
    {LLMH_OP_DETACH, "detach", "x", 1, 0, shapes::like_input, nullptr},
    {LLMH_OP_DROPOUT, "dropout", "x", 1, kSize<llmh_dropout_attrs>, shapes::dropout, nullptr},
    {LLMH_OP_LOW_RANK_ROW_NORMS, "low_rank_row_norms", "weight a? b?", 1, kSize<llmh_scalar_attrs>,
     shapes::low_rank_row_norms, nullptr},
    {LLMH_OP_ACCUMULATE, "accumulate", "sum x", 0, 0, shapes::accumulate, nullptr},
    {LLMH_OP_ATTENTION_TRAIN, "attention_train", "q k v alibi_slopes? sinks?", 2, kSize<llmh_attention_attrs>,
     shapes::attention_train, nullptr},
    {LLMH_OP_ATTENTION_GRAD, "attention_grad", "q k v alibi_slopes? sinks? out lse dout", 4,
     kSize<llmh_attention_attrs>, shapes::attention_grad, nullptr},
    {LLMH_OP_CROSS_ENTROPY, "cross_entropy", "logits labels", 1, 0, shapes::cross_entropy, nullptr},
    {LLMH_OP_CROSS_ENTROPY_GRAD, "cross_entropy_grad", "logits labels dloss", 1, 0,
     shapes::cross_entropy_grad, nullptr},
    {LLMH_OP_LINEAR_CROSS_ENTROPY, "linear_cross_entropy", "x weight bias? labels", 2, kSize<llmh_head_attrs>,
     shapes::linear_cross_entropy, nullptr},
    {LLMH_OP_LINEAR_INPUT_GRAD, "linear_input_grad", "dy weight", 1, 0, shapes::linear_input_grad,
     parts::linear_input_grad},
    {LLMH_OP_LINEAR_WEIGHT_GRAD, "linear_weight_grad", "dy x", 1, 0, shapes::linear_weight_grad, nullptr},
    {LLMH_OP_EXPERT_LINEAR_INPUT_GRAD, "expert_linear_input_grad", "dy weight ids", 1, 0,
     shapes::expert_linear_input_grad, nullptr},
    {LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD, "expert_linear_weight_grad", "dy x ids", 1, kSize<llmh_width_attrs>,
     shapes::expert_linear_weight_grad, nullptr},
    {LLMH_OP_RMS_NORM_GRAD, "rms_norm_grad", "x weight? dy", 1, kSize<llmh_norm_attrs>, shapes::norm_grad,
     parts::rms_norm_grad},
    {LLMH_OP_RMS_NORM_WEIGHT_GRAD, "rms_norm_weight_grad", "x dy", 1, kSize<llmh_norm_attrs>,
     shapes::norm_weight_grad, parts::rms_norm_weight_grad},
    {LLMH_OP_LAYER_NORM_GRAD, "layer_norm_grad", "x weight? dy", 1, kSize<llmh_norm_attrs>, shapes::norm_grad,
     parts::layer_norm_grad},
    {LLMH_OP_LAYER_NORM_WEIGHT_GRAD, "layer_norm_weight_grad", "x dy", 1, kSize<llmh_norm_attrs>,
     shapes::norm_weight_grad, parts::layer_norm_weight_grad},
    {LLMH_OP_ACTIVATION_GRAD, "activation_grad", "x dy", 1, kSize<llmh_activation_attrs>,
     shapes::activation_grad, parts::activation_grad},
    {LLMH_OP_GATED_ACTIVATION_GRAD, "gated_activation_grad", "gate up dy", 2, kSize<llmh_activation_attrs>,
     shapes::gated_activation_grad, parts::gated_activation_grad},
    {LLMH_OP_SOFTMAX_GRAD, "softmax_grad", "y dy", 1, 0, shapes::softmax_grad, parts::softmax_grad},
};

std::string place(std::string_view name, std::string_view path) {
  return path.empty() ? std::string(name) : fmt::format("{} at {}", name, path);
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> result;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    result.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

// The names of as many inputs as are given; throws when there are too few or too many.
std::vector<std::string> name_inputs(const OpSpec& spec, std::string_view path,
                                     std::span<const TensorType* const> inputs) {
  std::vector<std::string> names;
  if (spec.inputs.ends_with("...")) {
    if (inputs.empty() || inputs.size() > kMaxConcat)
      throw_invalid("{}: it takes 1 to {} tensors, {} are given", place(spec.name, path), kMaxConcat,
                    inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) names.push_back(fmt::format("input {}", i));
  } else {
    const auto declared = words(spec.inputs);
    if (inputs.size() > declared.size())
      throw_invalid("{}: it takes {} inputs ({}), {} are given", place(spec.name, path), declared.size(),
                    spec.inputs, inputs.size());
    for (size_t i = 0; i < declared.size(); ++i) {
      const bool optional = declared[i].ends_with('?');
      names.emplace_back(declared[i].substr(0, declared[i].size() - (optional ? 1 : 0)));
      if (!optional && (i >= inputs.size() || inputs[i] == nullptr))
        throw_invalid("{}: the input '{}' is missing", place(spec.name, path), names.back());
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i] == nullptr && spec.inputs.ends_with("..."))
      throw_invalid("{}: {} is missing", place(spec.name, path), names[i]);
  return names;
}

// The struct's own size, which is not more than what is there.
uint32_t declared_size(const OpSpec& spec, std::string_view path, const void* attrs, size_t attrs_size) {
  if (attrs == nullptr) throw_invalid("{}: the attributes are missing", place(spec.name, path));
  uint32_t size = 0;
  if (attrs_size < sizeof(size)) throw_invalid("{}: the attributes have no size", place(spec.name, path));
  std::memcpy(&size, attrs, sizeof(size));
  if (size < sizeof(size) || size > attrs_size)
    throw_invalid("{}: the attributes say they have {} bytes, {} are given", place(spec.name, path), size,
                  attrs_size);
  return size;
}

// add_node copies what the attributes point at.
void own_factors(const OpSpec& spec, std::string_view path, AttrsStorage& storage) {
  if (spec.op != LLMH_OP_ROPE_ANGLES) return;
  auto& attrs = *reinterpret_cast<llmh_rope_angles_attrs*>(storage.bytes.get());
  if (attrs.rotary_dim <= 0 || attrs.rotary_dim > (1 << 20))
    throw_invalid("{}: rotary_dim is {}", place(spec.name, path), attrs.rotary_dim);
  const auto count = static_cast<size_t>(attrs.rotary_dim / 2);
  storage.factors.resize(2 * count);
  if (attrs.short_factors != nullptr)
    attrs.short_factors = std::copy_n(attrs.short_factors, count, storage.factors.data()) - count;
  if (attrs.long_factors != nullptr)
    attrs.long_factors = std::copy_n(attrs.long_factors, count, storage.factors.data() + count) - count;
}

}  // namespace

void NodeView::fail_with(const std::string& message) const {
  throw_invalid("{}: {}", place(name, path), message);
}

const OpSpec* find_op(llmh_op op) {
  const auto* found =
      std::find_if(std::begin(kOps), std::end(kOps), [op](const OpSpec& spec) { return spec.op == op; });
  return found == std::end(kOps) ? nullptr : found;
}

std::span<const OpSpec> all_ops() {
  return kOps;
}

std::string op_name(llmh_op op) {
  const OpSpec* spec = find_op(op);
  return spec != nullptr ? std::string(spec->name) : fmt::format("op {}", op);
}

AttrsStorage copy_attrs(const OpSpec& spec, std::string_view path, const void* attrs, size_t attrs_size) {
  AttrsStorage storage;
  if (spec.attrs_size == 0) {
    if (attrs != nullptr && attrs_size != 0)
      throw_invalid("{}: it has no attributes, {} bytes are given", place(spec.name, path), attrs_size);
    return storage;
  }
  const uint32_t size = declared_size(spec, path, attrs, attrs_size);
  const auto* bytes = static_cast<const std::byte*>(attrs);
  for (size_t i = spec.attrs_size; i < size; ++i)
    if (bytes[i] != std::byte{0})
      throw_error(ErrorCode::kUnimplemented, "{}: byte {} of the attributes is newer than this host knows",
                  place(spec.name, path), i);
  storage.bytes = std::make_unique<std::byte[]>(spec.attrs_size);  // zeroed
  std::memcpy(storage.bytes.get(), attrs, std::min(size, spec.attrs_size));
  std::memcpy(storage.bytes.get(), &spec.attrs_size, sizeof(spec.attrs_size));
  own_factors(spec, path, storage);
  return storage;
}

std::vector<TensorType> infer_outputs(const OpSpec& spec, std::string_view path,
                                      std::span<const TensorType* const> inputs, const void* attrs) {
  const auto names = name_inputs(spec, path, inputs);
  auto outputs = spec.infer({spec.op, spec.name, path, inputs, attrs, names});
  for (const TensorType& type : outputs) {
    if (type.dims.size() > LLMH_MAX_RANK)
      throw_invalid("{}: the result {} has more than {} dimensions", place(spec.name, path),
                    to_text(type.dims), int{LLMH_MAX_RANK});
    if (llmh_dtype_layout_of(type.dtype).name == nullptr)
      throw_invalid("{}: element type {} is unknown", place(spec.name, path), type.dtype);
  }
  return outputs;
}

}  // namespace llmhost::graph
