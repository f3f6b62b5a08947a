// The graph of the model: what adapters, quantisation and the engine rely on beside the numbers.
#include <algorithm>
#include <map>
#include <set>

#include "check/cases.h"
#include "check/child.h"
#include "core/error.h"
#include "core/json.h"
#include "graph/graph.h"
#include "model/loader.h"

namespace llmhost::check {
namespace {

using graph::to_view;

struct Loaded {
  explicit Loaded(const Subject& subject) : registry(own_registry(subject)) {
    at("loading the model");
    model = model::load_model(subject.options.model, *registry, {.arch = subject.manifest.id});
  }
  std::unique_ptr<plugin::Registry> registry;
  std::unique_ptr<model::LoadedModel> model;
};

std::string audit(const Subject& subject) {
  const Loaded loaded(subject);
  if (!loaded.model->warnings().empty()) return "warnings: " + loaded.model->warnings().front();
  return fmt::format("{} tensors, {} nodes", loaded.model->tensors().size(),
                     loaded.model->graph().node_count());
}

bool is_linear(const llmh_node& node) {
  return node.op == LLMH_OP_LINEAR || node.op == LLMH_OP_EXPERT_LINEAR;
}

// Modules that read each weight as a matrix or as a table.
std::map<std::string, std::set<std::string>> modules_by_weight(const graph::Graph& graph) {
  std::map<std::string, std::set<std::string>> modules;
  for (uint32_t n = 0; n < graph.node_count(); ++n) {
    const llmh_node& node = graph.node(n);
    const bool table = node.op == LLMH_OP_EMBEDDING || node.op == LLMH_OP_GATHER;
    const bool matrix = is_linear(node) || node.op == LLMH_OP_MATMUL;
    const llmh_tensor weight = graph::input_of(node, table ? 0 : 1);
    if ((!table && !matrix) || weight == LLMH_NO_TENSOR) continue;
    if (graph.tensor(weight).role == LLMH_TENSOR_WEIGHT)
      modules[std::string(to_view(graph.tensor(weight).name))].emplace(to_view(node.path));
  }
  return modules;
}

std::string paths(const Subject& subject) {
  const Loaded loaded(subject);
  const graph::Graph& graph = loaded.model->graph();
  const auto modules = modules_by_weight(graph);
  std::set<std::string> seen;
  for (uint32_t n = 0; n < graph.node_count(); ++n) {
    const llmh_node& node = graph.node(n);
    if (!is_linear(node)) continue;
    const std::string path(to_view(node.path));
    const std::string weight(to_view(graph.tensor(node.inputs[1]).name));
    if (path.empty())
      throw_error(ErrorCode::kInternal,
                  "the linear with the weight '{}' has no module path: no adapter finds it", weight);
    if (!seen.insert(path).second)
      throw_error(ErrorCode::kInternal, "two linears have the module path '{}'", path);
    if (graph.tensor(node.inputs[1]).role != LLMH_TENSOR_WEIGHT || weight == path + ".weight") continue;
    const std::string owner = weight.substr(0, weight.rfind(".weight"));
    if (!modules.at(weight).contains(owner))
      throw_error(ErrorCode::kInternal, "the linear at '{}' reads '{}', which no module '{}' reads", path,
                  weight, owner);
  }
  return fmt::format("{} linears", seen.size());
}

// Every stored matrix belongs to a module of the graph.
std::string matrices(const Subject& subject) {
  const Loaded loaded(subject);
  const auto modules = modules_by_weight(loaded.model->graph());
  size_t n = 0;
  for (const auto& [weight, readers] : modules) {
    const auto found = loaded.model->tensors().find(weight);
    if (found == loaded.model->tensors().end() || found->second.shape.size() < 2) continue;
    if (!weight.ends_with(".weight")) continue;
    const std::string owner = weight.substr(0, weight.size() - std::string_view(".weight").size());
    if (!readers.contains(owner))
      throw_error(ErrorCode::kInternal, "the matrix '{}' is read at '{}', not at the module '{}'", weight,
                  *readers.begin(), owner);
    ++n;
  }
  return fmt::format("{} matrices", n);
}

void check_state(const llmh_state_spec& spec, const llmh_attention_attrs& attrs, std::string_view path) {
  if (spec.n_kv_heads != attrs.n_kv_heads || spec.k_head_dim != attrs.k_head_dim ||
      spec.v_head_dim != attrs.v_head_dim)
    throw_error(ErrorCode::kInternal,
                "the state of slot {} has {} heads of {} and {}, the attention at '{}' {} of {} and {}",
                spec.slot, spec.n_kv_heads, spec.k_head_dim, spec.v_head_dim, path, attrs.n_kv_heads,
                attrs.k_head_dim, attrs.v_head_dim);
  const bool too_short = spec.window != 0 && (attrs.window == 0 || attrs.window > spec.window);
  if (too_short && (attrs.chunk == 0 || attrs.chunk > spec.window))
    throw_error(ErrorCode::kInternal,
                "the state of slot {} keeps {} positions, the attention at '{}' looks back {}", spec.slot,
                spec.window, path, attrs.window == 0 ? "over all" : fmt::format("{}", attrs.window));
}

std::string states(const Subject& subject) {
  const Loaded loaded(subject);
  std::map<int32_t, const llmh_state_spec*> specs;
  for (const llmh_state_spec& spec : loaded.model->states())
    if (!specs.emplace(spec.slot, &spec).second)
      throw_error(ErrorCode::kInternal, "two states are declared for slot {}", spec.slot);
  const graph::Graph& graph = loaded.model->graph();
  std::set<int32_t> used;
  for (uint32_t n = 0; n < graph.node_count(); ++n) {
    const llmh_node& node = graph.node(n);
    if (node.op != LLMH_OP_ATTENTION) continue;
    const auto& attrs = graph::attrs_of<llmh_attention_attrs>(node);
    const std::string_view path = to_view(node.path);
    if (!specs.contains(attrs.slot))
      throw_error(ErrorCode::kInternal, "the attention at '{}' uses slot {}, which describe does not declare",
                  path, attrs.slot);
    if (!used.insert(attrs.slot).second)
      throw_error(ErrorCode::kInternal, "the attention at '{}' uses slot {}, which another one uses", path,
                  attrs.slot);
    check_state(*specs[attrs.slot], attrs, path);
  }
  for (const auto& [slot, spec] : specs)
    if (!used.contains(slot) && graph.node_count() > 0)
      throw_error(ErrorCode::kInternal, "the state of slot {} is declared, and no attention uses it", slot);
  return fmt::format("{} slots", used.size());
}

// Numbers of the config, by key, that are called the epsilon of a norm.
void collect_epsilons(const Json& value, const std::string& path, std::map<std::string, float>& found) {
  for (const auto& [key, inner] : value.items()) {
    const std::string full = path.empty() ? key : path + "." + key;
    if (inner.is_object()) collect_epsilons(inner, full, found);
    const bool of_norm = key.find("norm") != std::string::npos || key.starts_with("ln_");
    if (inner.is_number() && of_norm && (key.ends_with("eps") || key.ends_with("epsilon")))
      found[full] = inner.get<float>();
  }
}

// A wrong epsilon is below the tolerance of most references: whether it is the config's is seen here.
std::string epsilons(const Subject& subject) {
  const Loaded loaded(subject);
  std::map<std::string, float> named;
  collect_epsilons(loaded.model->checkpoint().config(), {}, named);
  if (named.empty()) throw Skipped{"the config names no epsilon"};
  std::set<float> used;
  const graph::Graph& graph = loaded.model->graph();
  for (uint32_t n = 0; n < graph.node_count(); ++n)
    if (const llmh_op op = graph.node(n).op; op == LLMH_OP_RMS_NORM || op == LLMH_OP_LAYER_NORM)
      used.insert(graph::attrs_of<llmh_norm_attrs>(graph.node(n)).eps);
  if (used.empty()) throw Skipped{"the graph has no norm"};
  for (const auto& [key, value] : named)
    if (used.contains(value)) return fmt::format("{} is {:g}", key, value);
  throw_error(ErrorCode::kInternal, "'{}' is {:g}, and no norm has it: the norms have {:g}",
              named.begin()->first, named.begin()->second, *used.begin());
}

int64_t logits_width(const graph::Graph& graph) {
  const llmh_graph& view = graph.view();
  for (uint32_t i = 0; i < view.n_outputs; ++i)
    if (view.outputs[i]->kind == LLMH_OUTPUT_LOGITS) {
      const llmh_tensor_info& info = graph.tensor(view.outputs[i]->tensor);
      return info.rank == 2 ? info.dims[1].size : -1;
    }
  return -1;
}

std::string description(const Subject& subject) {
  const Loaded loaded(subject);
  const llmh_model_info& info = loaded.model->info();
  const auto want = [](bool holds, const std::string& what) {
    if (!holds) throw_error(ErrorCode::kInternal, "describe: {}", what);
  };
  want(info.n_layers > 0, fmt::format("n_layers is {}", info.n_layers));
  want(info.hidden_size > 0, fmt::format("hidden_size is {}", info.hidden_size));
  want(info.context_length > 0 && info.context_length <= int64_t{1} << 32,
       fmt::format("context_length is {}", info.context_length));
  want(info.n_heads > 0 && info.n_kv_heads > 0 && info.n_heads % info.n_kv_heads == 0,
       fmt::format("{} heads with {} heads of keys and values", info.n_heads, info.n_kv_heads));
  want(info.head_dim > 0, fmt::format("head_dim is {}", info.head_dim));
  const int64_t width = logits_width(loaded.model->graph());
  want(info.vocab_size == width,
       fmt::format("vocab_size is {}, the logits have {} columns", info.vocab_size, width));
  bool shared = false;
  for (const model::GraphWeight& weight : loaded.model->weights_of(loaded.model->graph()))
    shared = shared || ((weight.uses & LLMH_USE_LINEAR) != 0 && (weight.uses & LLMH_USE_TABLE) != 0);
  want((info.tied_embeddings != 0) == shared,
       fmt::format("tied_embeddings is {}, and the output head {} the embedding table", info.tied_embeddings,
                   shared ? "is" : "is not"));
  return fmt::format("{} layers, context {}", info.n_layers, info.context_length);
}

}  // namespace

void add_structure_cases(const Subject& subject, Cases& cases) {
  const auto add = [&](const char* name, std::string (*run)(const Subject&)) {
    cases.push_back({name, [&subject, run] { return run(subject); }});
  };
  add("model.audit", &audit);
  add("model.description", &description);
  add("model.states", &states);
  add("model.paths", &paths);
  add("model.matrices", &matrices);
  add("model.epsilons", &epsilons);
}

}  // namespace llmhost::check
