#include "mutation/places.h"

#include <algorithm>
#include <charconv>

#include "graph/op_registry.h"

namespace llmhost::mutation {
namespace {

constexpr int kDepth = 3;

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// The parts of "a.b.3.c".
std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t dot = path.find('.');
    parts.push_back(path.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    path.remove_prefix(dot + 1);
  }
}

int32_t layer_in(std::string_view path) {
  for (const std::string_view part : parts_of(path)) {
    if (!is_number(part)) continue;
    int32_t layer = kNoLayer;
    std::from_chars(part.data(), part.data() + part.size(), layer);
    return layer;
  }
  return kNoLayer;
}

// The same model inside one that also sees: the same features.
constexpr std::string_view kInner = "language_model.";

std::string without_numbers(std::string_view path) {
  if (path.starts_with(kInner)) path.remove_prefix(kInner.size());
  std::string result;
  for (const std::string_view part : parts_of(path)) {
    if (!result.empty()) result += '.';
    result += is_number(part) ? "*" : part;
  }
  return result;
}

}  // namespace

Places::Places(const graph::Graph& graph) : graph_(graph) {
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    int32_t layer = layer_in(graph::to_view(node.path));
    if (layer == kNoLayer)
      for (const llmh_tensor input : graph::inputs_of(node)) layer = std::max(layer, layer_of_tensor(input));
    layers_.push_back(layer);
  }
}

int32_t Places::last_layer() const {
  return layers_.empty() ? kNoLayer : *std::ranges::max_element(layers_);
}

int32_t Places::layer_of_tensor(llmh_tensor tensor) const {
  if (tensor == LLMH_NO_TENSOR) return kNoLayer;
  const int32_t producer = graph_.tensor(tensor).producer;
  return producer < 0 ? kNoLayer : layers_[static_cast<size_t>(producer)];
}

std::string Places::label(llmh_tensor tensor, int32_t layer, int depth) const {
  if (tensor == LLMH_NO_TENSOR) return "-";
  const llmh_tensor_info& info = graph_.tensor(tensor);
  if (info.producer < 0)
    return info.role == LLMH_TENSOR_CONSTANT && graph_.has_default_name(tensor)
               ? "constant"
               : without_numbers(graph::to_view(info.name));
  const auto node = static_cast<uint32_t>(info.producer);
  if (layers_[node] < layer) return "in";
  const std::string_view path = graph::to_view(graph_.node(node).path);
  return path.empty() ? expression(node, depth - 1) : without_numbers(path);
}

std::string Places::expression(uint32_t index, int depth) const {
  const llmh_node& node = graph_.node(index);
  std::string text = graph::op_name(node.op);
  if (depth == 0) return text;
  text += '(';
  for (uint32_t i = 0; i < node.n_inputs; ++i)
    text += (i == 0 ? "" : ", ") + label(node.inputs[i], layers_[index], depth);
  return text + ')';
}

std::string Places::of(uint32_t index) const {
  const llmh_node& node = graph_.node(index);
  const std::string_view path = graph::to_view(node.path);
  return path.empty() ? expression(index, kDepth) : graph::op_name(node.op) + " @ " + without_numbers(path);
}

}  // namespace llmhost::mutation
