#include "peft/serving.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>

#include "peft/config.h"
#include "peft/modules.h"
#include "peft/saved.h"
#include "peft/tensors.h"
#include "peft/tied.h"

namespace peft {
namespace {

// How far a copy of a base tensor may be from the base's own: what rounding to bf16 does; where the base is
// stored in few bits, what that does, as a part of the largest value of the tensor.
constexpr float kCopyTolerance = 0.00391F;
constexpr float kLossyTolerance = 0.25F;

[[noreturn]] void refuse_target(const Module& module, const std::string& why) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT,
                    std::string(kConfigFile) + ": target_modules names '" + module.path() + "', " + why);
}

class Reader {
 public:
  Reader(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink,
         const RowScale& row_scale)
      : model_(model),
        sink_(sink),
        row_scale_(row_scale),
        config_(parse_config(llmh::view(source.config_json))),
        table_(model),
        tensors_(sort_tensors(source, table_)),
        selection_(config_, table_) {
    if (config_.has_magnitudes != static_cast<bool>(row_scale_))
      throw llmh::Error(LLMH_INVALID_ARGUMENT, std::string(kConfigFile) + ": use_dora is " +
                                                   (config_.has_magnitudes ? "true" : "false") +
                                                   ", this is the reader of the other kind");
  }

  void run() {
    selection_.check_no_container_is_target();
    for (const Module& module : table_.modules()) read(module);
    if (n_branches_ == 0) refuse_no_target();
    if (config_.ties_weights)
      refuse_tied(config_, model_, table_, [this](const Module& module) { return touches(module); });
    for (const Module& module : table_.modules())
      if (const llmh_adapter_tensor* const tensor = tensors_[module.index].left_over())
        refuse_tensor(llmh::view(tensor->name), "is there, but " + std::string(kConfigFile) + " gives '" +
                                                    module.path() + "' no such tensor");
    for (const Delta& delta : deltas_) llmh::check(sink_.add(&sink_, &delta.table));
    for (const std::string& note : config_.notes) add_note(std::string(kConfigFile) + ": " + note);
    for (const std::string& note : notes_) add_note(note);
  }

 private:
  // What owns the data that the table points at, as far as the source does not.
  struct Delta {
    llmh_module_delta table{};
    std::vector<float> row_scale;
    std::vector<float> weight;
  };

  void add_note(const std::string& note) { llmh::check(sink_.note(&sink_, llmh::str(note))); }

  void read(const Module& module) {
    const std::optional<BranchShape> branch = selection_.branch(module);
    if (module.base->kind == LLMH_MODULE_FIXED) return read_fixed(module, branch.has_value());
    Delta delta;
    delta.table.struct_size = sizeof delta.table;
    delta.table.module = module.index;
    if (branch && module.base->kind == LLMH_MODULE_NORM)
      refuse_target(module, "which is neither a linear nor an embedding");
    if (branch && module.base->kind == LLMH_MODULE_LINEAR) read_branch(module, *branch, delta);
    if (branch && module.base->kind == LLMH_MODULE_EMBEDDING) read_embedding_branch(module, *branch, delta);
    if (!branch && selection_.is_saved(module)) read_saved(module, delta);
    read_bias(module, branch.has_value(), delta);
    if (branch) ++n_branches_;
    if (!delta.row_scale.empty()) delta.table.row_scale = delta.row_scale.data();
    if (!delta.weight.empty()) delta.table.weight = delta.weight.data();
    const llmh_module_delta& table = delta.table;
    if (table.rank > 0 || table.weight != nullptr || table.bias != nullptr)
      deltas_.push_back(std::move(delta));
  }

  // Names alone do no harm: the library has stacks of experts as one module with other names.
  void read_fixed(const Module& module, bool is_target) {
    if (const llmh_adapter_tensor* const tensor = tensors_[module.index].left_over())
      refuse_tensor(llmh::view(tensor->name),
                    "is for '" + module.path() +
                        "', which adapters cannot change here: it is no plain linear, "
                        "embedding or norm");
    if (is_target || selection_.is_saved(module))
      notes_.push_back(std::string(kConfigFile) + ": '" + module.path() +
                       "' is named, adapters cannot change it and this one has no tensors for it");
  }

  void read_branch(const Module& module, const BranchShape& branch, Delta& delta) {
    const int64_t k = module.base->in_features;
    const int64_t n = module.base->out_features;
    ModuleTensors& tensors = tensors_[module.index];
    llmh_module_delta& table = delta.table;
    table.rank = static_cast<int32_t>(branch.rank);
    table.scale = branch.scale;
    table.a = tensors.require(Part::kA, {branch.rank, k}, module.path()).data;
    table.b = tensors.require(Part::kB, {n, branch.rank}, module.path()).data;
    if (config_.has_branch_bias) table.b_bias = tensors.require(Part::kBranchBias, {n}, module.path()).data;
    check_copy(module, tensors.take(Part::kBaseWeight, {n, k}));
    if (!config_.has_magnitudes) return;
    const float* const magnitudes = tensors.require(Part::kMagnitudes, {n}, module.path()).data;
    delta.row_scale =
        row_scale_({k, n, branch.rank, branch.scale, table.a, table.b, magnitudes, base_weight(module)});
    for (const float factor : delta.row_scale)
      if (!std::isfinite(factor))
        refuse_tensor(module.path() + std::string(ending(Part::kMagnitudes)),
                      "belongs to a row of weights whose length is 0; the module cannot be scaled by it");
  }

  void read_embedding_branch(const Module& module, const BranchShape& branch, Delta& delta) {
    if (config_.has_magnitudes || config_.has_branch_bias)
      refuse_target(
          module, std::string("an embedding, which has no ") +
                      (config_.has_magnitudes ? "magnitudes (use_dora)" : "bias of its branch (lora_bias)") +
                      " here");
    ModuleTensors& tensors = tensors_[module.index];
    const int64_t rows = module.base->in_features;
    const int64_t width = module.base->out_features;
    delta.table.rank = static_cast<int32_t>(branch.rank);
    delta.table.scale = branch.scale;
    delta.table.a = tensors.require(Part::kEmbeddingA, {branch.rank, rows}, module.path()).data;
    delta.table.b = tensors.require(Part::kEmbeddingB, {width, branch.rank}, module.path()).data;
    check_copy(module, tensors.take(Part::kBaseWeight, {rows, width}));
  }

  void read_saved(const Module& module, Delta& delta) {
    SavedTensors saved = take_saved(module, tensors_[module.index]);
    delta.table.weight = saved.weight;
    delta.table.bias = saved.bias;
    delta.weight = std::move(saved.own_weight);
  }

  // Biases that were trained beside the branches. Older files have that of an adapted layer without
  // "base_layer".
  void read_bias(const Module& module, bool has_branch, Delta& delta) {
    const bool is_trained =
        config_.bias == TrainedBias::kAll || (config_.bias == TrainedBias::kLoraOnly && has_branch);
    if (module.base->has_bias == 0 || delta.table.bias != nullptr) return;
    ModuleTensors& tensors = tensors_[module.index];
    if (!is_trained) {
      // With the copy of an adapted head's weight files have one of its bias.
      const auto* const copy =
          has_branch ? tensors.take(Part::kBaseBias, {module.base->out_features}) : nullptr;
      if (copy != nullptr) delta.table.bias = copy->data;
      return;
    }
    const bool is_new_name = has_branch && (tensors.has(Part::kBaseBias) || !tensors.has(Part::kBias));
    delta.table.bias =
        tensors
            .require(is_new_name ? Part::kBaseBias : Part::kBias, {module.base->out_features}, module.path())
            .data;
  }

  std::vector<float> base_weight(const Module& module) {
    const auto n =
        static_cast<size_t>(module.base->in_features) * static_cast<size_t>(module.base->out_features);
    std::vector<float> weight(n);
    llmh::check(model_.weight(&model_, module.index, weight.data()));
    return weight;
  }

  // The file's copy of a frozen base tensor says which base the adapter was made for.
  void check_copy(const Module& module, const llmh_adapter_tensor* copy) {
    if (copy == nullptr) return;
    const std::vector<float> base = base_weight(module);
    const bool is_lossy = (module.base->flags & LLMH_MODULE_LOSSY) != 0;
    float largest = 0;
    for (const float value : base) largest = std::max(largest, std::abs(value));
    float difference = 0;
    for (size_t i = 0; i < base.size(); ++i) {
      const float here = std::abs(base[i] - copy->data[i]);
      difference = std::max(difference, here);
      if (here > (is_lossy ? kLossyTolerance * largest : kCopyTolerance * std::abs(base[i])))
        refuse_tensor(llmh::view(copy->name), "differs from the base model's at element " +
                                                  std::to_string(i) + " (" + std::to_string(copy->data[i]) +
                                                  ", there " + std::to_string(base[i]) +
                                                  "): the adapter was made for another base");
    }
    if (difference > 0)
      notes_.push_back(std::string(llmh::view(copy->name)) + " differs from the base model's by up to " +
                       std::to_string(difference) + " (rounding); the base model's is used");
  }

  [[noreturn]] void refuse_no_target() const {
    std::string named = notes_.empty() ? "" : "; " + notes_.front();
    throw llmh::Error(LLMH_INVALID_ARGUMENT,
                      std::string(kConfigFile) +
                          ": target_modules, with what limits it, names no linear or embedding "
                          "of this model" +
                          named);
  }

  bool touches(const Module& module) const {
    return std::any_of(deltas_.begin(), deltas_.end(),
                       [&](const Delta& delta) { return delta.table.module == module.index; });
  }

  const llmh_base_model& model_;
  llmh_delta_sink& sink_;
  const RowScale& row_scale_;
  AdapterConfig config_;
  ModuleTable table_;
  std::vector<ModuleTensors> tensors_;
  Selection selection_;
  std::vector<Delta> deltas_;
  std::vector<std::string> notes_;
  size_t n_branches_ = 0;
};

}  // namespace

void read_adapter(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink,
                  const RowScale& row_scale) {
  Reader(source, model, sink, row_scale).run();
}

}  // namespace peft
