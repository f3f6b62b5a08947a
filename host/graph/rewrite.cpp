#include "graph/rewrite.h"

#include "core/error.h"

namespace llmhost::graph {
namespace {

std::vector<int64_t> sizes_of(const llmh_tensor_info& info) {
  std::vector<int64_t> sizes;
  for (const llmh_dim& dim : dims_of(info)) sizes.push_back(dim.size);
  return sizes;
}

}  // namespace

Rewriter::Rewriter(const Graph& source) : source_(source), map_(source.tensor_count(), LLMH_NO_TENSOR) {}

llmh_tensor Rewriter::copy_source(llmh_tensor old_tensor) {
  const llmh_tensor_info& info = source_.tensor(old_tensor);
  const std::string_view name =
      source_.has_default_name(old_tensor) ? std::string_view() : to_view(info.name);
  switch (info.role) {
    case LLMH_TENSOR_WEIGHT:
      return target_.add_weight(name, info.dtype, sizes_of(info));
    case LLMH_TENSOR_INPUT:
      return target_.add_input(info.input_kind);
    case LLMH_TENSOR_PARAMETER:
      return target_.add_parameter(name, sizes_of(info), source_.parameter_init(old_tensor));
    case LLMH_TENSOR_CONSTANT: {
      const auto* data = static_cast<const std::byte*>(info.data);
      if (info.rank == 0 && info.dtype == LLMH_DTYPE_F32 && name.empty())
        return target_.scalar(*static_cast<const float*>(info.data));
      return target_.add_constant(name, info.dtype, sizes_of(info),
                                  {data, static_cast<size_t>(info.data_bytes)});
    }
    default:
      if (info.producer < 0) {
        const llmh_tensor placeholder = target_.add_placeholder(type_of(info));
        if (!name.empty()) target_.set_name(placeholder, name);
        return placeholder;
      }
      throw_error(ErrorCode::kInternal, "tensor '{}' is used before a node makes it", to_view(info.name));
  }
}

llmh_tensor Rewriter::map(llmh_tensor old_tensor) {
  if (old_tensor == LLMH_NO_TENSOR) return LLMH_NO_TENSOR;
  source_.tensor(old_tensor);  // checks the index
  llmh_tensor& fresh = map_[static_cast<size_t>(old_tensor)];
  if (fresh == LLMH_NO_TENSOR) fresh = copy_source(old_tensor);
  return fresh;
}

std::vector<llmh_tensor> Rewriter::map(std::span<const llmh_tensor> old_tensors) {
  std::vector<llmh_tensor> fresh;
  for (const llmh_tensor tensor : old_tensors) fresh.push_back(map(tensor));
  return fresh;
}

void Rewriter::copy(uint32_t index) {
  const llmh_node& node = source_.node(index);
  const auto outputs =
      target_.add_node(node.op, to_view(node.path), map(inputs_of(node)), node.attrs, node.attrs_size);
  for (size_t i = 0; i < outputs.size(); ++i) replace(node.outputs[i], outputs[i]);
}

void Rewriter::replace(llmh_tensor old_tensor, llmh_tensor fresh) {
  const llmh_tensor_info& info = source_.tensor(old_tensor);
  map_[static_cast<size_t>(old_tensor)] = fresh;
  if (!source_.has_default_name(old_tensor) && target_.has_default_name(fresh) &&
      target_.tensor(fresh).role == LLMH_TENSOR_ACTIVATION)
    target_.set_name(fresh, to_view(info.name));
}

Graph Rewriter::finish() {
  const llmh_graph& view = source_.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    target_.add_output(view.outputs[i]->kind, map(view.outputs[i]->tensor));
  return std::move(target_);
}

}  // namespace llmhost::graph
