#include "model/loader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "graph/builder.h"
#include "llmhost/plugin.hpp"
#include "model/config_audit.h"
#include "model/model_view.h"
#include "model/tensor_audit.h"
#include "model/weights.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::model {
namespace {

// The plugin's parsed config, closed when it goes out of scope.
class OpenedArch {
 public:
  OpenedArch(const llmh_arch& arch, const llmh_model* model, const std::string& context) : arch_(arch) {
    const plugin::ControlScope scope(&arch_, "llmh_arch.open");
    plugin::check(arch_.open(model, &self_), context);
  }
  ~OpenedArch() {
    const plugin::ControlScope scope(&arch_, "llmh_arch.close");
    arch_.close(self_);
  }
  OpenedArch(const OpenedArch&) = delete;
  OpenedArch& operator=(const OpenedArch&) = delete;
  llmh_arch_model* get() const { return self_; }

 private:
  const llmh_arch& arch_;
  llmh_arch_model* self_ = nullptr;
};

// Far more than any model has; a config with an absurd number of layers stops here.
constexpr size_t kMaxStates = size_t{1} << 16;

// Collects llmh_state_sink.add.
struct StateCollector {
  llmh_state_sink base{sizeof(llmh_state_sink), &StateCollector::add};
  std::vector<llmh_state_spec> specs;

  static llmh_status* add(llmh_state_sink* sink, const llmh_state_spec* spec) {
    return plugin::guard([&] {
      const bool sane = spec->kind == LLMH_STATE_PAGED_KV && spec->slot >= 0 && spec->n_kv_heads > 0 &&
                        spec->k_head_dim > 0 && spec->v_head_dim > 0 && spec->window >= 0;
      if (!sane)
        throw_invalid("state of slot {}: kind, slot, heads, sizes or window out of range", spec->slot);
      auto& collected = reinterpret_cast<StateCollector*>(sink)->specs;
      if (collected.size() == kMaxStates)
        throw_invalid("more than {} layers with a state: check the number of layers in the config",
                      kMaxStates);
      collected.push_back(llmh::copy_struct(*spec));
    });
  }
};

// The checkpoint as the graph builder sees it; remembers what was asked for.
class WeightTable final : public graph::WeightLookup {
 public:
  WeightTable(const std::map<std::string, HubTensor, std::less<>>& tensors, const NameMap& names)
      : tensors_(tensors), names_(names) {}

  std::optional<graph::WeightInfo> find(std::string_view name) const override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return std::nullopt;
    const HubTensor& tensor = it->second;
    for (const CheckpointTensor* part : tensor.parts) {
      used_.insert(part);
      // Here the message still has the tensor's name and stored type.
      if (part->dtype == LLMH_DTYPE_INVALID) static_cast<void>(part->data());
    }
    return graph::WeightInfo{tensor.dtype, tensor.shape};
  }
  std::string stored_name(std::string_view name) const override {
    const auto it = tensors_.find(name);
    const bool is_one = it != tensors_.end() && !it->second.stacked;
    return is_one ? std::string(it->second.first().name) : names_.stored_name(name);
  }
  bool is_used(const CheckpointTensor* stored) const { return used_.contains(stored); }

 private:
  const std::map<std::string, HubTensor, std::less<>>& tensors_;
  const NameMap& names_;
  mutable std::set<const CheckpointTensor*> used_;
};

std::vector<std::string_view> names_of(const Checkpoint& checkpoint) {
  std::vector<std::string_view> names;
  names.reserve(checkpoint.tensors().size());
  for (const CheckpointTensor& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  return names;
}

uint32_t use_of(const llmh_node& node, size_t input) {
  constexpr std::array kProducts = {LLMH_OP_LINEAR,
                                    LLMH_OP_MATMUL,
                                    LLMH_OP_EXPERT_LINEAR,
                                    LLMH_OP_LORA_LINEAR,
                                    LLMH_OP_LINEAR_INPUT_GRAD,
                                    LLMH_OP_EXPERT_LINEAR_INPUT_GRAD,
                                    LLMH_OP_LINEAR_CROSS_ENTROPY};
  if (std::ranges::find(kProducts, node.op) != kProducts.end() && input == 1) return LLMH_USE_LINEAR;
  if (node.op == LLMH_OP_LOW_RANK_ROW_NORMS && input == 0) return LLMH_USE_LINEAR;
  const bool is_lookup =
      node.op == LLMH_OP_EMBEDDING || node.op == LLMH_OP_GATHER || node.op == LLMH_OP_LORA_EMBEDDING;
  if (is_lookup && input == 0) return LLMH_USE_TABLE;
  // A cast decodes a stored weight for what follows: the weight itself stays as it is.
  if (node.op == LLMH_OP_CAST) return LLMH_USE_TABLE;
  return LLMH_USE_VECTOR;
}

// What the host reads of the quantisation itself is no plugin's to understand.
void replace_quantisation_keys(const Checkpoint& checkpoint, std::vector<std::string>& keys) {
  if (checkpoint.quantisation_key().empty()) return;
  const std::string below = checkpoint.quantisation_key() + ".";
  std::erase_if(keys, [&](const std::string& key) { return key.starts_with(below); });
  for (const std::string& key : checkpoint.unread_quantisation_keys()) keys.push_back(below + key);
}

std::vector<uint32_t> uses_of(const graph::Graph& graph) {
  std::vector<uint32_t> uses(graph.tensor_count(), 0);
  for (uint32_t n = 0; n < graph.node_count(); ++n) {
    const llmh_node& node = graph.node(n);
    for (size_t i = 0; i < node.n_inputs; ++i)
      if (node.inputs[i] != LLMH_NO_TENSOR) uses[static_cast<size_t>(node.inputs[i])] |= use_of(node, i);
  }
  return uses;
}

}  // namespace

// The steps of one load, in order.
class Loader {
 public:
  Loader(Checkpoint checkpoint, const plugin::Registry& registry, const LoadOptions& options)
      : model_(new LoadedModel(std::move(checkpoint))),
        registry_(registry),
        options_(options),
        view_(
            model_->checkpoint_.config(), model_->checkpoint_.config_file(),
            model_->checkpoint_.format() == CheckpointFormat::kGguf ? LLMH_FORMAT_GGUF : LLMH_FORMAT_HUB,
            [this](std::string_view name) { return shape_of(name); }, names_of(model_->checkpoint_)) {}

  std::unique_ptr<LoadedModel> run() {
    plugin::Plugin& chosen = choose_arch();
    const llmh_arch& arch = plugin::arch(chosen);
    view_.forget_reads();
    std::optional<OpenedArch> opening;
    try {
      opening.emplace(arch, view_.table(), view_.source());
    } catch (const Error&) {
      refuse_type_errors();  // a key of the wrong type is why the plugin takes it for missing
      throw;
    }
    const OpenedArch& opened = *opening;
    refuse_type_errors();
    collect_names(arch, opened);
    describe(arch, opened);
    build(arch, opened);
    audit();
    model_->recipe_ = read_recipe(chosen, opened.get());
    warn_of_guesses();
    return std::move(model_);
  }

 private:
  // Before the rules are known (in match and open), names are looked up as stored.
  std::optional<std::vector<int64_t>> shape_of(std::string_view name) const {
    if (!model_->tensors_.empty()) {
      const auto it = model_->tensors_.find(name);
      return it == model_->tensors_.end() ? std::nullopt : std::optional(it->second.shape);
    }
    const CheckpointTensor* stored = model_->checkpoint_.find(name);
    return stored == nullptr ? std::nullopt : std::optional(stored->shape);
  }

  int32_t match(plugin::Plugin& candidate) {
    const llmh_arch& arch = plugin::arch(candidate);
    const plugin::ControlScope scope(&arch, "llmh_arch.match");
    return arch.match(view_.table());
  }

  // Who reads a recipe off the checkpoint comes after all who know the model type.
  static bool is_better(int32_t score, int32_t best) {
    if (score <= LLMH_MATCH_NONE || best <= LLMH_MATCH_NONE) return score > best;
    if ((score == LLMH_MATCH_INFERRED) != (best == LLMH_MATCH_INFERRED)) return best == LLMH_MATCH_INFERRED;
    return score > best;
  }

  plugin::Plugin& choose_arch() {
    const Json& config = model_->checkpoint_.config();
    const auto type = config.find("model_type");
    const bool has_type = type != config.end() && type->is_string();
    const std::string name = has_type ? type->get<std::string>() : std::string();
    plugin::Plugin* best = nullptr;
    int32_t best_score = LLMH_MATCH_NONE;
    if (!options_.arch.empty()) {
      best = &registry_.require(plugin::Kind::kArch, options_.arch);
      best_score = match(*best);
    } else {
      // Nothing comes before who knows the model type: the others are not even loaded.
      for (plugin::Plugin* candidate : registry_.for_provides(plugin::Kind::kArch, name)) {
        if (best_score >= LLMH_MATCH_EXACT) break;
        if (const int32_t score = match(*candidate); is_better(score, best_score))
          std::tie(best, best_score) = std::pair(candidate, score);
      }
    }
    if (best == nullptr && !has_type)
      throw_invalid("{}: 'model_type' is missing: name the architecture with --arch", view_.source());
    if (best == nullptr)
      throw_error(
          ErrorCode::kUnimplemented,
          "{}: no plugin for model type '{}': see `llmhost plugins`, or name an architecture with --arch",
          view_.source(), name);
    model_->arch_id_ = best->id();
    model_->is_inferred_ = best_score == LLMH_MATCH_INFERRED;
    return *best;
  }

  void refuse_type_errors() const {
    if (!view_.type_errors().empty()) throw_invalid("{}", view_.type_errors().front());
  }

  void collect_names(const llmh_arch& arch, const OpenedArch& opened) {
    const plugin::ControlScope scope(&arch, "llmh_arch.names");
    plugin::check(arch.names(opened.get(), view_.table(), names_.sink()), view_.source());
    model_->tensors_ = names_.apply(model_->checkpoint_);
  }

  void describe(const llmh_arch& arch, const OpenedArch& opened) {
    const plugin::ControlScope scope(&arch, "llmh_arch.describe");
    model_->info_.struct_size = sizeof model_->info_;
    StateCollector states;
    plugin::check(arch.describe(opened.get(), &model_->info_, &states.base), view_.source());
    model_->states_ = std::move(states.specs);
  }

  void build(const llmh_arch& arch, const OpenedArch& opened) {
    const plugin::ControlScope scope(&arch, "llmh_arch.build");
    const WeightTable weights(model_->tensors_, names_);
    graph::GraphBuilder builder(model_->graph_, weights);
    plugin::check(arch.build(opened.get(), builder.table()), view_.source());
    for (const GraphWeight& weight : model_->weights_of(model_->graph_))
      model_->graph_.set_weight_dtype(weight.tensor, loaded_dtype(*weight.source, weight.uses));
    for (const CheckpointTensor& stored : model_->checkpoint_.tensors())
      if (!weights.is_used(&stored) && !names_.is_ignored(stored.name)) unused_.emplace_back(stored.name);
    const llmh_graph& view = model_->graph_.view();
    const bool has_logits =
        std::any_of(view.outputs, view.outputs + view.n_outputs,
                    [](const llmh_graph_output* out) { return out->kind == LLMH_OUTPUT_LOGITS; });
    if (!has_logits)
      throw_error(ErrorCode::kInternal, "plugin {}: the graph has no logits output", model_->arch_id_);
  }

  void audit() {
    refuse_type_errors();
    std::vector<std::string> unread = keys_that_matter(view_.unread_keys());
    replace_quantisation_keys(model_->checkpoint_, unread);
    if (!unread.empty()) {
      std::vector<std::string> named;
      named.reserve(unread.size());
      for (const std::string& key : unread) named.emplace_back(model_->checkpoint_.config_source(key));
      complain(fmt::format("{}: architecture '{}' does not understand the keys {}", view_.source(),
                           model_->arch_id_, fmt::join(named, ", ")));
    }
    std::vector<std::string> missing = missing_biases(names_of(model_->checkpoint_));
    std::erase_if(missing, [&](const std::string& name) { return names_.is_ignored(name); });
    if (!missing.empty())
      complain(fmt::format("{}: no tensor '{}', whose like other layers have",
                           model_->checkpoint_.path().string(), fmt::join(missing, "', '")));
    if (!unused_.empty()) {
      const size_t shown = std::min<size_t>(unused_.size(), 20);
      complain(
          fmt::format("{}: architecture '{}' does not use {} tensors: {}{}",
                      model_->checkpoint_.path().string(), model_->arch_id_, unused_.size(),
                      fmt::join(unused_.begin(), unused_.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                      shown < unused_.size() ? ", …" : ""));
    }
  }

  void complain(const std::string& finding) {
    if (!options_.best_effort)
      throw_error(ErrorCode::kUnimplemented, "{}; --best-effort loads the model all the same", finding);
    warn(finding);
  }

  void warn(const std::string& finding) {
    spdlog::warn("{}; results may be wrong", finding);
    model_->warnings_.push_back(finding);
  }

  void warn_of_guesses() {
    if (!model_->is_inferred_) return;
    std::vector<std::string> guesses;
    for (const RecipeChoice& choice : model_->recipe())
      if (choice.is_guess())
        guesses.push_back(fmt::format("{}={} ({} %)", choice.what, choice.value, choice.certainty));
    if (!guesses.empty())
      warn(fmt::format("{}: nobody described this model type; architecture '{}' guessed {}", view_.source(),
                       model_->arch_id_, fmt::join(guesses, ", ")));
  }

  std::unique_ptr<LoadedModel> model_;
  const plugin::Registry& registry_;
  const LoadOptions& options_;
  ModelView view_;
  NameMap names_;
  std::vector<std::string> unused_;
};

std::vector<GraphWeight> LoadedModel::weights_of(const graph::Graph& graph) const {
  const std::vector<uint32_t> uses = uses_of(graph);
  std::vector<GraphWeight> weights;
  for (uint32_t t = 0; t < graph.tensor_count(); ++t) {
    const auto tensor = static_cast<llmh_tensor>(t);
    const llmh_tensor_info& info = graph.tensor(tensor);
    if (info.role != LLMH_TENSOR_WEIGHT) continue;
    std::string name(info.name.ptr, info.name.len);
    const auto source = tensors_.find(name);
    if (source == tensors_.end()) throw_error(ErrorCode::kInternal, "no stored tensor for weight '{}'", name);
    weights.push_back({tensor, std::move(name), &source->second, uses[t]});
  }
  return weights;
}

std::unique_ptr<LoadedModel> load_model(const std::filesystem::path& path, const plugin::Registry& registry,
                                        const LoadOptions& options) {
  Checkpoint checkpoint = Checkpoint::open(path);
  checkpoint.join_quantised();
  return Loader(std::move(checkpoint), registry, options).run();
}

}  // namespace llmhost::model
