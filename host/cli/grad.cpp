// llmhost grad: the loss of a batch and the gradient of everything that is trained, for comparison with other
// programs. Exact by default. The file formats are stable: {"input_ids": [[ids…], …], "labels": [[…], …]} in,
// safetensors out.
#include <fmt/core.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/support.h"
#include "core/error.h"
#include "model/safetensors.h"
#include "train/stored_tensors.h"
#include "train/training_stack.h"

namespace llmhost::cli {
namespace {

const Json& list_of(const Json& json, const std::string& path, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end() || !found->is_array() || found->empty())
    throw_invalid("{}: '{}' must be a list of at least one list of integers", path, key);
  return *found;
}

// A list of integers from `least` on that fit 32 bits.
std::vector<int32_t> integers(const Json& row, const std::string& where, int64_t least) {
  if (!row.is_array()) throw_invalid("{}: must be a list of integers", where);
  std::vector<int32_t> values;
  for (const Json& value : row) {
    const bool fits =
        value.is_number_integer() && value.get<int64_t>() >= least && value.get<int64_t>() <= INT32_MAX;
    if (!fits) throw_invalid("{}: {} is no integer from {} on", where, value.dump(), least);
    values.push_back(value.get<int32_t>());
  }
  return values;
}

// A row's tokens: all of them, or those before the padding.
size_t row_length(const Json* masks, size_t row, size_t n_ids, const std::string& path) {
  if (masks == nullptr) return n_ids;
  const std::string where = fmt::format("{}: attention_mask[{}]", path, row);
  const std::vector<int32_t> mask = integers(masks->at(row), where, 0);
  const auto end = std::ranges::find(mask, 0);
  const bool is_prefix = std::ranges::all_of(end, mask.end(), [](int32_t m) { return m == 0; });
  if (mask.size() != n_ids || !is_prefix)
    throw_invalid("{}: must be as long as input_ids, ones and then zeros: rows are padded on the right",
                  where);
  return static_cast<size_t>(end - mask.begin());
}

std::vector<train::Example> read_batch(const std::string& path) {
  const Json json = read_json_file(path);
  const Json& ids = list_of(json, path, "input_ids");
  const Json& labels = list_of(json, path, "labels");
  const Json* const masks =
      json.contains("attention_mask") ? &list_of(json, path, "attention_mask") : nullptr;
  if (labels.size() != ids.size() || (masks != nullptr && masks->size() != ids.size()))
    throw_invalid("{}: input_ids, labels and attention_mask must have as many rows", path);
  std::vector<train::Example> examples;
  for (size_t i = 0; i < ids.size(); ++i) {
    train::Example& example = examples.emplace_back();
    example.ids = integers(ids[i], fmt::format("{}: input_ids[{}]", path, i), 0);
    example.labels = integers(labels[i], fmt::format("{}: labels[{}]", path, i), train::kNoLabel);
    if (example.labels.size() != example.ids.size())
      throw_invalid("{}: labels[{}] has {} items, input_ids[{}] has {}", path, i, example.labels.size(), i,
                    example.ids.size());
    const size_t length = row_length(masks, i, example.ids.size(), path);
    example.ids.resize(length);
    example.labels.resize(length);
  }
  return examples;
}

llmh_dtype saved_dtype(const std::string& name) {
  if (name == "f32") return LLMH_DTYPE_F32;
  if (name == "bf16") return LLMH_DTYPE_BF16;
  if (name == "f16") return LLMH_DTYPE_F16;
  throw UsageError(fmt::format("grad: --dtype {}: it must be f32, bf16 or f16", name));
}

class GradCommand final : public Command {
 public:
  std::string name() const override { return "grad"; }
  std::string summary() const override { return "Write the loss and the gradients of a batch"; }

  void declare(Options& options) override {
    options.positional("MODEL", model_, "Model folder, safetensors or GGUF file");
    options.value("--adapter", adapter_, "Adapter folder: its tensors are trained; without one, all weights");
    options.value("--batch", batch_,
                  R"(JSON file {"input_ids": [[ids…], …], "labels": [[…], …]}; -100: no target)");
    options.value("--out", out_, "Safetensors file: loss [1], and the gradient of the mean loss by tensor");
    options.value("--dtype", dtype_, "Type in which activations wait for the backward pass: f32, bf16, f16");
    options.value("--method", method_, "Without --adapter: method that chooses what is trained");
    options.flag("--checkpoint-layers", checkpoint_layers_,
                 "Compute what a layer's backward pass needs again: the same gradients in less memory");
    declare_model_options(options);
  }

  int run(Context& context) override {
    if (batch_.empty() || out_.empty())
      throw UsageError("grad: --batch FILE.json and --out FILE.safetensors are needed");
    const std::vector<train::Example> examples = read_batch(batch_);
    const auto registry = open_registry(context.settings);
    const auto model = model::load_model(model_, *registry, load_options(context.settings));
    const engine::HostDevice host(*registry, context.settings, engine::RunUse::kLogits);
    const auto method = adapter_.empty() ? train::Method::open(*registry, method_, YamlNode(), "grad")
                                         : train::Method::open_adapter(*registry, adapter_);
    train::TrainingStack stack(*model, host.device(), *method, options_for(examples));
    if (!adapter_.empty()) stack.load_values(adapter_);
    compute(context, examples, *model, *method, stack);
    return 0;
  }

 private:
  train::TrainingOptions options_for(const std::vector<train::Example>& examples) const {
    train::TrainingOptions options;
    options.max_tokens = 1;
    for (const train::Example& example : examples)
      options.max_tokens = std::max(options.max_tokens, static_cast<int64_t>(example.ids.size()));
    options.max_sequences = 1;
    options.saved_dtype = saved_dtype(dtype_);
    options.checkpoint_layers = checkpoint_layers_;
    return options;
  }

  // Row by row: the memory is that of the longest.
  void compute(const Context& context, const std::vector<train::Example>& examples,
               const model::LoadedModel& model, const train::Method& method,
               train::TrainingStack& stack) const {
    int64_t n_targets = 0;
    double sum = 0;
    stack.zero_gradients();
    for (const train::Example& example : examples) {
      const train::Example* const row[] = {&example};
      sum += stack.accumulate(row, 0);
      n_targets += example.n_targets();
    }
    const double factor = n_targets > 0 ? 1 / static_cast<double>(n_targets) : 0;
    const auto loss = static_cast<float>(sum * factor);
    const std::vector<train::FileTensor> gradients = train::gradient_files(model, method, stack, factor);
    std::vector<model::SafetensorsEntry> entries = {
        {"loss", LLMH_DTYPE_F32, {1}, std::as_bytes(std::span(&loss, 1))}};
    for (const train::FileTensor& tensor : gradients)
      entries.push_back({tensor.name, LLMH_DTYPE_F32, tensor.shape, std::as_bytes(std::span(tensor.values))});
    model::write_safetensors(out_, std::move(entries));
    if (context.json)
      print_json({{"loss", sum * factor},
                  {"targets", n_targets},
                  {"tensors", gradients.size()},
                  {"out", out_},
                  {"warnings", model.warnings()}});
    else
      fmt::print("loss {} over {} targets, {} gradients\n", loss, n_targets, gradients.size());
  }

  std::string model_, adapter_, batch_, out_;
  std::string dtype_ = "f32";
  std::string method_ = "full";
  bool checkpoint_layers_ = false;
};

}  // namespace

std::unique_ptr<Command> make_grad_command() {
  return std::make_unique<GradCommand>();
}

}  // namespace llmhost::cli
