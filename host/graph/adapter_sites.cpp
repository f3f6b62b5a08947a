#include "graph/adapter_sites.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "graph/rewrite.h"

namespace llmhost::graph {
namespace {

bool is_weight(const Graph& graph, llmh_tensor tensor) {
  return tensor != LLMH_NO_TENSOR && graph.tensor(tensor).role == LLMH_TENSOR_WEIGHT;
}

// [T,K] or [R,K]; of a norm also [T,H,D], which norms each head.
bool has_adapter_rows(const llmh_tensor_info& x, bool is_norm) {
  const auto is_row = [&](int32_t symbol) { return same_dim(x.dims[0], symbol_dim(symbol)); };
  if (x.rank < 2 || (x.rank > 2 && !is_norm)) return false;
  const bool is_fixed_row = std::all_of(x.dims + 1, x.dims + x.rank,
                                        [](const llmh_dim& dim) { return dim.symbol == LLMH_DIM_CONST; });
  return is_fixed_row && (is_row(LLMH_DIM_TOKENS) || is_row(LLMH_DIM_OUTPUTS));
}

std::string path_of(const Graph& graph, const llmh_node& node, llmh_tensor weight) {
  if (node.path.len > 0) return std::string(to_view(node.path));
  std::string_view name = to_view(graph.tensor(weight).name);
  for (const std::string_view suffix : {".weight", ".bias"})
    if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  return std::string(name);
}

// What the node is when it can be a site; FIXED when it bears weights otherwise.
AdapterSite describe(const Graph& graph, const llmh_node& node, llmh_tensor weight) {
  AdapterSite site;
  site.path = path_of(graph, node, weight);
  site.weight = weight;
  const llmh_tensor_info& info = graph.tensor(weight);
  site.weight_name = std::string(to_view(info.name));
  if (info.rank >= 1) site.out_features = info.dims[0].size;
  if (info.rank >= 2) site.in_features = info.dims[1].size;
  const bool is_lookup = node.op == LLMH_OP_EMBEDDING;
  const bool is_norm = node.op == LLMH_OP_RMS_NORM || node.op == LLMH_OP_LAYER_NORM;
  if (node.path.len == 0 || (!is_lookup && !is_norm && node.op != LLMH_OP_LINEAR)) return site;
  if (weight != node.inputs[is_lookup ? 0 : 1]) return site;
  site.has_bias = input_of(node, 2) != LLMH_NO_TENSOR;
  if (site.has_bias && !is_weight(graph, input_of(node, 2))) return site;
  if (site.has_bias) site.bias_name = std::string(to_view(graph.tensor(node.inputs[2]).name));
  if (is_lookup) {
    const llmh_tensor_info& ids = graph.tensor(node.inputs[1]);
    if (ids.rank != 1 || !same_dim(ids.dims[0], symbol_dim(LLMH_DIM_TOKENS))) return site;
    std::swap(site.in_features, site.out_features);
    site.kind = LLMH_MODULE_EMBEDDING;
  } else if (has_adapter_rows(graph.tensor(node.inputs[0]), is_norm)) {
    if (is_norm) site.in_features = site.out_features;
    site.kind = is_norm ? LLMH_MODULE_NORM : LLMH_MODULE_LINEAR;
  }
  return site;
}

// The weight that names a node's module: of a norm or a linear with a bias too the former.
llmh_tensor first_weight(const Graph& graph, const llmh_node& node) {
  const auto inputs = inputs_of(node);
  const auto found = std::ranges::find_if(inputs, [&](llmh_tensor t) { return is_weight(graph, t); });
  return found == inputs.end() ? LLMH_NO_TENSOR : *found;
}

// The linear that gives the logits, which only scales and caps may follow.
uint32_t head_node(const Graph& graph) {
  for (uint32_t i = 0; i < graph.view().n_outputs; ++i) {
    if (graph.view().outputs[i]->kind != LLMH_OUTPUT_LOGITS) continue;
    int32_t producer = graph.tensor(graph.view().outputs[i]->tensor).producer;
    while (producer >= 0) {
      const llmh_node& node = graph.node(static_cast<uint32_t>(producer));
      if (node.op == LLMH_OP_LINEAR) return static_cast<uint32_t>(producer);
      if (node.n_inputs == 0) break;
      producer = graph.tensor(node.inputs[0]).producer;
    }
  }
  return graph.node_count();
}

// Adds the weights of the node, each weight of a module once.
void add_weights(const Graph& graph, const llmh_node& node, AdapterSite& site,
                 std::set<std::pair<std::string, llmh_tensor>>& counted) {
  for (const llmh_tensor input : inputs_of(node)) {
    if (!is_weight(graph, input) || !counted.emplace(site.path, input).second) continue;
    uint64_t n = 1;
    for (const llmh_dim& dim : dims_of(graph.tensor(input))) n *= static_cast<uint64_t>(dim.size);
    site.n_weights += n;
    site.weights.emplace_back(to_view(graph.tensor(input).name));
  }
}

// All modules by path in the order of their first nodes; `by_node` says which is a node's.
std::vector<AdapterSite> list_modules(const Graph& graph, std::vector<size_t>& by_node) {
  std::vector<AdapterSite> modules;
  std::map<std::string, size_t> by_path;
  std::set<std::pair<std::string, llmh_tensor>> counted;
  const uint32_t head = head_node(graph);
  by_node.assign(graph.node_count(), SIZE_MAX);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    const llmh_tensor weight = first_weight(graph, node);
    if (weight == LLMH_NO_TENSOR) continue;
    AdapterSite site = describe(graph, node, weight);
    const auto [known, is_new] = by_path.emplace(site.path, modules.size());
    by_node[i] = known->second;
    if (is_new) modules.push_back(site);
    AdapterSite& first = modules[known->second];
    const bool is_same = first.weight == weight && first.kind == site.kind && first.has_bias == site.has_bias;
    if (!is_same) first.kind = LLMH_MODULE_FIXED;
    first.is_head |= i == head;
    first.is_experts |= node.op == LLMH_OP_EXPERT_LINEAR;
    add_weights(graph, node, first, counted);
  }
  return modules;
}

llmh_op site_op(llmh_op op) {
  if (op == LLMH_OP_LINEAR) return LLMH_OP_LORA_LINEAR;
  return op == LLMH_OP_EMBEDDING ? LLMH_OP_LORA_EMBEDDING : op;
}

std::vector<llmh_tensor> add_site(Rewriter& rewriter, const llmh_node& node, int32_t site) {
  const auto inputs = rewriter.map(inputs_of(node));
  if (site_op(node.op) != node.op) {
    auto attrs = make_attrs<llmh_site_attrs>();
    attrs.adapter_site = site;
    return rewriter.target().add_node(site_op(node.op), to_view(node.path), inputs, &attrs, sizeof attrs);
  }
  llmh_norm_attrs attrs = attrs_of<llmh_norm_attrs>(node);
  attrs.adapter_site = site;
  return rewriter.target().add_node(node.op, to_view(node.path), inputs, &attrs, sizeof attrs);
}

}  // namespace

std::vector<AdapterSite> modules_of(const Graph& graph) {
  std::vector<size_t> by_node;
  return list_modules(graph, by_node);
}

std::vector<AdapterSite> modules_of(const Graph& graph, std::vector<size_t>& by_node) {
  return list_modules(graph, by_node);
}

Graph with_adapter_sites(const Graph& graph, const std::function<bool(const AdapterSite&)>& wanted,
                         std::vector<AdapterSite>& sites) {
  std::vector<size_t> by_node;
  sites = list_modules(graph, by_node);
  int32_t n_sites = 0;
  for (AdapterSite& site : sites)
    if (site.kind != LLMH_MODULE_FIXED && wanted(site)) site.site = ++n_sites;
  Rewriter rewriter(graph);
  for (uint32_t i = 0; i < graph.node_count(); ++i) {
    const llmh_node& node = graph.node(i);
    const int32_t site = by_node[i] == SIZE_MAX ? 0 : sites[by_node[i]].site;
    if (site == 0) {
      rewriter.copy(i);
      continue;
    }
    const auto outputs = add_site(rewriter, node, site);
    for (size_t k = 0; k < outputs.size(); ++k) rewriter.replace(node.outputs[k], outputs[k]);
  }
  return rewriter.finish();
}

}  // namespace llmhost::graph
