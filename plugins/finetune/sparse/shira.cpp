#include "shira.h"

#include <algorithm>
#include <numeric>
#include <unordered_set>

#include "masks.h"
#include "peft/modules.h"
#include "peft/saved.h"
#include "peft/tensors.h"
#include "shira_config.h"

namespace sparse {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT, what);
}

// SplitMix64 (Steele et al. 2014): the same entries everywhere for the same seed and path.
class Random {
 public:
  Random(uint64_t seed, std::string_view path) : state_(seed) {
    for (const char c : path) state_ = next() ^ static_cast<unsigned char>(c);
  }
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  // From 0 to n - 1; n is below 2^31, so the remainder is as good as even.
  uint64_t below(uint64_t n) { return next() % n; }

 private:
  uint64_t state_;
};

// `count` of 0 to n - 1, ascending (Floyd's method).
std::vector<int32_t> random_entries(Random random, int64_t n, int64_t count) {
  std::unordered_set<int32_t> chosen;
  for (int64_t limit = n - count; limit < n; ++limit) {
    const auto pick = static_cast<int32_t>(random.below(static_cast<uint64_t>(limit) + 1));
    if (!chosen.insert(pick).second) chosen.insert(static_cast<int32_t>(limit));
  }
  std::vector<int32_t> entries(chosen.begin(), chosen.end());
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::vector<int32_t> largest_entries(const llmh_base_model& model, uint32_t module, int64_t n,
                                     int64_t count) {
  std::vector<float> weight(static_cast<size_t>(n));
  llmh::check(model.weight(&model, module, weight.data()));
  const Mask mask = magnitude_mask(weight, 1 - static_cast<double>(count) / static_cast<double>(n));
  std::vector<int32_t> entries;
  for (size_t i = 0; i < mask.size(); ++i)
    if (mask[i] != 0) entries.push_back(static_cast<int32_t>(i));
  return entries;
}

void check_size(const llmh_base_module& base, int64_t count, const peft::AdapterConfig& config) {
  const std::string path(llmh::view(base.path));
  if (base.kind != LLMH_MODULE_LINEAR)
    refuse(config.source + ": target_modules names '" + path + "', which is no linear");
  const int64_t n = base.in_features * base.out_features;
  if (n > INT32_MAX)
    refuse("'" + path + "' has " + std::to_string(n) + " entries, at most 2^31 can be addressed");
  if (count > n)
    refuse(config.source + ": r is " + std::to_string(config.rank) + ": " + std::to_string(count) +
           " entries of '" + path + "', which has " + std::to_string(n));
}

// [2, k]: rows, then columns.
std::vector<int32_t> table_of(const std::vector<int32_t>& flat, int64_t in_features) {
  const auto width = static_cast<int32_t>(in_features);
  std::vector<int32_t> table;
  table.reserve(2 * flat.size());
  for (const int32_t entry : flat) table.push_back(entry / width);
  for (const int32_t entry : flat) table.push_back(entry % width);
  return table;
}

}  // namespace

ShiraTraining::ShiraTraining(peft::AdapterConfig config, const ShiraOptions& options)
    : config_(std::move(config)), options_(options) {}

ShiraTraining::ShiraTraining(const llmh_adapter_source& source)
    : config_(parse_shira_config(llmh::view(source.config_json))), is_stored_(true) {
  constexpr std::string_view kPrefix = "base_model.model.";
  const std::string_view ending = peft::ending(peft::Part::kSparseIndices);
  for (uint32_t i = 0; i < source.n_tensors; ++i) {
    const llmh_adapter_tensor& tensor = *source.tensors[i];
    std::string_view path = llmh::view(tensor.name);
    if (!path.ends_with(ending)) continue;
    if (tensor.rank != 2 || tensor.shape[0] != 2) peft::refuse_tensor(path, "is not of the shape [2, k]");
    path.remove_suffix(ending.size());
    if (path.starts_with(kPrefix)) path.remove_prefix(kPrefix.size());
    stored_.push_back({std::string(path),
                       std::string(llmh::view(tensor.name)),
                       {tensor.shape, tensor.shape + 2},
                       {tensor.data, tensor.data + 2 * tensor.shape[1]}});
  }
}

std::vector<int32_t> ShiraTraining::chosen_entries(const llmh_base_model& model, uint32_t module,
                                                   int64_t count) const {
  const llmh_base_module& base = *model.modules[module];
  const int64_t n = base.in_features * base.out_features;
  if (options_.by_magnitude) return largest_entries(model, module, n, count);
  return random_entries(Random(options_.seed, llmh::view(base.path)), n, count);
}

std::vector<int32_t> ShiraTraining::stored_entries(const llmh_base_module& base, int64_t count) const {
  const std::string path(llmh::view(base.path));
  const auto found = std::find_if(stored_.begin(), stored_.end(), [&](const Stored& stored) {
    return stored.path == path || stored.path == peft::written_path(path);
  });
  if (found == stored_.end())
    peft::refuse_tensor(path + std::string(peft::ending(peft::Part::kSparseIndices)), "is missing");
  if (found->shape[1] != count)
    peft::refuse_tensor(found->name, "has " + std::to_string(found->shape[1]) + " entries, expected " +
                                         std::to_string(count) + " for r = " + std::to_string(config_.rank));
  llmh_adapter_tensor tensor{};
  tensor.struct_size = sizeof tensor;
  tensor.rank = 2;
  tensor.shape[0] = 2;
  tensor.shape[1] = count;
  tensor.name = llmh::str(found->name);
  tensor.data = found->data.data();
  return flat_indices(tensor, base.in_features, base.out_features);
}

void ShiraTraining::begin(const llmh_base_model& model) {
  choice_ = std::make_unique<peft::Choice>(config_, model);
  for (uint32_t i = 0; i < model.n_modules; ++i) {
    if (!choice_->at(i).branch || entries_.contains(i)) continue;
    const llmh_base_module& base = *model.modules[i];
    const int64_t count = entry_count(config_.rank, base.in_features, base.out_features);
    check_size(base, count, config_);
    Entries entries;
    entries.flat = is_stored_ ? stored_entries(base, count) : chosen_entries(model, i, count);
    entries.table = table_of(entries.flat, base.in_features);
    entries.file_name = choice_->file_name(std::string(llmh::view(base.path)) +
                                           std::string(peft::ending(peft::Part::kSparseIndices)));
    entries_.emplace(i, std::move(entries));
  }
}

llmh::Tensor ShiraTraining::rewrite(llmh::Graph& graph, const llmh::Linear& linear) const {
  const Entries& entries = entries_.at(linear.module);
  const auto count = static_cast<int64_t>(entries.flat.size());
  const llmh::Tensor values = graph.parameter(linear.path + ".shira_weight", {count}, LLMH_INIT_ZEROS);
  const llmh::Tensor indices = graph.indices({}, {count}, entries.flat);
  auto flat = llmh::make_attrs<llmh_shape_attrs>();
  flat.rank = 1;
  flat.dims[0].size = linear.out_features * linear.in_features;
  auto matrix = llmh::make_attrs<llmh_shape_attrs>();
  matrix.rank = 2;
  matrix.dims[0].size = linear.out_features;
  matrix.dims[1].size = linear.in_features;
  const llmh::Scope scope = graph.scope(linear.path).scope("shira");
  const llmh::Tensor spread = scope.op(LLMH_OP_SCATTER_ADD, {values, indices}, flat);
  return linear.y + scope.op(LLMH_OP_LINEAR, {linear.x, scope.op(LLMH_OP_RESHAPE, {spread}, matrix)});
}

std::string ShiraTraining::config_json() const {
  return "{" + choice_->shared_json("SHIRA") + ", \"r\": " + std::to_string(config_.rank) +
         ", \"mask_type\": " + (options_.by_magnitude ? "\"top_magnitude\"" : "\"random\"") +
         ", \"init_weights\": true}\n";
}

bool ShiraTraining::file_tensor(uint32_t index, llmh_file_tensor& out) const {
  if (index >= entries_.size()) return false;
  const Entries& entries = std::next(entries_.begin(), index)->second;
  out.dtype = LLMH_DTYPE_I32;
  out.rank = 2;
  out.shape[0] = 2;
  out.shape[1] = static_cast<int64_t>(entries.flat.size());
  out.data = entries.table.data();
  out.name = llmh::str(entries.file_name);
  return true;
}

namespace {

// W + S of one module, or what replaces it.
class ShiraReader {
 public:
  ShiraReader(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink)
      : model_(model),
        sink_(sink),
        config_(parse_shira_config(llmh::view(source.config_json))),
        table_(model),
        tensors_(peft::sort_tensors(source, table_)),
        selection_(config_, table_) {}

  // All is checked before anything is given.
  void run() {
    selection_.check_no_container_is_target();
    size_t n_targets = 0;
    for (const peft::Module& module : table_.modules()) {
      const bool is_target = selection_.branch(module).has_value();
      if (is_target && module.base->kind != LLMH_MODULE_FIXED) check_target(module);
      if (is_target) ++n_targets;
    }
    if (n_targets == 0)
      refuse(std::string(peft::kConfigFile) + ": target_modules names no linear of this model");
    for (const peft::Module& module : table_.modules()) read(module);
    for (const auto& note : config_.notes)
      llmh::check(sink_.note(&sink_, llmh::str(std::string(peft::kConfigFile) + ": " + note)));
  }

 private:
  void check_target(const peft::Module& module) {
    const llmh_base_module& base = *module.base;
    const int64_t count = entry_count(config_.rank, base.in_features, base.out_features);
    check_size(base, count, config_);
  }

  void read(const peft::Module& module) {
    peft::ModuleTensors& tensors = tensors_[module.index];
    const llmh_base_module& base = *module.base;
    llmh_module_delta delta{};
    delta.struct_size = sizeof delta;
    delta.module = module.index;
    std::vector<float> weight;
    if (base.kind != LLMH_MODULE_FIXED && selection_.branch(module)) {
      weight = changed_weight(module, tensors);
      delta.weight = weight.data();
    } else if (base.kind != LLMH_MODULE_FIXED && selection_.is_saved(module)) {
      peft::SavedTensors saved = peft::take_saved(module, tensors);
      weight = std::move(saved.own_weight);
      delta.weight = weight.empty() ? saved.weight : weight.data();
      delta.bias = saved.bias;
    }
    if (const llmh_adapter_tensor* const left = tensors.left_over())
      peft::refuse_tensor(llmh::view(left->name), "is there, but " + std::string(peft::kConfigFile) +
                                                      " gives '" + module.path() + "' no such tensor");
    if (delta.weight != nullptr) llmh::check(sink_.add(&sink_, &delta));
  }

  std::vector<float> changed_weight(const peft::Module& module, peft::ModuleTensors& tensors) {
    const int64_t k = module.base->in_features;
    const int64_t n = module.base->out_features;
    const int64_t count = entry_count(config_.rank, k, n);
    const auto& indices = tensors.require(peft::Part::kSparseIndices, {2, count}, module.path());
    const auto& values = tensors.require(peft::Part::kSparseValues, {count}, module.path());
    const std::vector<int32_t> flat = flat_indices(indices, k, n);
    std::vector<float> weight(static_cast<size_t>(n * k));
    llmh::check(model_.weight(&model_, module.index, weight.data()));
    for (size_t i = 0; i < flat.size(); ++i) weight[static_cast<size_t>(flat[i])] += values.data[i];
    return weight;
  }

  const llmh_base_model& model_;
  llmh_delta_sink& sink_;
  peft::AdapterConfig config_;
  peft::ModuleTable table_;
  std::vector<peft::ModuleTensors> tensors_;
  peft::Selection selection_;
};

}  // namespace

void read_shira(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink) {
  ShiraReader(source, model, sink).run();
}

}  // namespace sparse
