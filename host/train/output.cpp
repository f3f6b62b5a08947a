#include "train/output.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "engine/adapter_folder.h"
#include "engine/receipt.h"
#include "model/new_weights.h"
#include "model/safetensors.h"
#include "model/weights.h"
#include "train/quantised_base.h"
#include "train/trained_files.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr size_t kGoldenTokens = 16;
constexpr float kSureLead = 0.05F;  // of the chosen logit
constexpr const char* kPart = ".model.part";

void check_finite(const TrainingStack& stack) {
  for (const TrainedValue& tensor : stack.trained())
    if (!std::ranges::all_of(tensor.value, [](float x) { return std::isfinite(x); }))
      throw_error(ErrorCode::kDataLoss, "trained tensor '{}' has a value that is not finite", tensor.name);
}

// `turned` keeps what the files have in another order than the trained tensors.
std::vector<model::SafetensorsEntry> entries_of(const OutputArgs& args,
                                                std::vector<std::vector<float>>& turned) {
  std::vector<model::SafetensorsEntry> entries;
  for (const TrainedValue& tensor : args.stack.trained()) {
    std::span<const float> values = tensor.value;
    if (tensor.is_transposed) values = turned.emplace_back(in_file_order(tensor, values));
    entries.push_back({tensor.file_name, LLMH_DTYPE_F32, file_shape(tensor), std::as_bytes(values)});
  }
  return entries;
}

engine::Receipt::Golden golden_of(TrainingStack& stack, const std::vector<int32_t>& prompt) {
  engine::Receipt::Golden golden{prompt, {}};
  std::vector<int32_t> ids = prompt;
  while (golden.tokens.size() < kGoldenTokens) {
    const std::vector<float> logits = stack.logits(ids);
    const size_t width = logits.size() / ids.size();
    const auto last = logits.end() - static_cast<std::ptrdiff_t>(width);
    const auto best = std::max_element(last, logits.end());
    // Where two tokens are as good as each other, rounding decides, and the rest hangs on it.
    const bool is_sure =
        std::count_if(last, logits.end(), [&](float x) { return x > *best - kSureLead; }) == 1;
    if (!is_sure) break;
    ids.push_back(static_cast<int32_t>(best - last));
    golden.tokens.push_back(ids.back());
  }
  return golden;
}

std::string receipt_of(const OutputArgs& args) {
  engine::Receipt receipt{engine::identify(args.model), args.data_hash, args.job_hash, {}};
  for (const std::vector<int32_t>& prompt : args.golden_prompts)
    if (!prompt.empty()) receipt.golden.push_back(golden_of(args.stack, prompt));
  return engine::to_json(receipt);
}

void write_adapter(const OutputArgs& args, const std::string& config) {
  std::vector<std::vector<float>> turned;
  std::vector<model::SafetensorsEntry> entries = entries_of(args, turned);
  std::vector<model::WeightData> copies;
  for (const Method::FileTensor& tensor : args.method.file_tensors(args.model)) {
    if (tensor.weight.empty()) {
      entries.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.data});
      continue;
    }
    copies.push_back(model::load_weight(args.model.tensors().at(tensor.weight), LLMH_USE_VECTOR));
    entries.push_back({tensor.name, LLMH_DTYPE_F32, copies.back().shape, copies.back().bytes});
  }
  model::write_safetensors(args.folder / engine::kAdapterTensorFile, std::move(entries));
  write_file_atomically(args.folder / engine::kReceiptFile, receipt_of(args));
  OrderedJson json = parse_ordered_json(config, "adapter config");
  json["base_model_name_or_path"] = args.model.checkpoint().path().string();
  // The file that makes it an adapter comes last.
  write_file_atomically(args.folder / engine::kAdapterConfigFile, json.dump(2) + "\n");
}

// The trained weights in place of the stored ones.
class TrainedWeights final : public model::NewWeights {
 public:
  TrainedWeights(const model::LoadedModel& model, const TrainingStack& stack) {
    for (const TrainedValue& trained : stack.trained()) {
      values_.emplace(trained.name, trained.value);
      if (!model.tensors().contains(trained.name)) untied_head_ = trained.name;
    }
  }
  bool has(const std::string& hub_name) const override { return values_.contains(hub_name); }
  std::vector<float> get(const std::string& hub_name) const override {
    const std::span<const float> values = values_.at(hub_name);
    return {values.begin(), values.end()};
  }
  std::string untied_head() const override { return untied_head_; }

 private:
  std::map<std::string, std::span<const float>> values_;
  std::string untied_head_;
};

void write_whole_model(const OutputArgs& args) {
  const bool is_gguf = args.model.checkpoint().format() == model::CheckpointFormat::kGguf;
  model::NameMap names;
  model::read_names(args.model, args.registry, is_gguf ? LLMH_FORMAT_GGUF : LLMH_FORMAT_HUB, names);
  const fs::path part = args.folder / kPart;
  fs::remove_all(part);
  fs::create_directories(part);
  model::write_model(args.model, names, TrainedWeights(args.model, args.stack), part, {});
  std::vector<fs::path> files;
  for (const auto& file : fs::directory_iterator(part)) files.push_back(file.path().filename());
  // The file that makes it a model comes last.
  std::stable_partition(files.begin(), files.end(), [](const fs::path& name) {
    return name != "config.json" && name.extension() != ".gguf";
  });
  for (const fs::path& name : files) fs::rename(part / name, args.folder / name);
  fs::remove_all(part);
}

}  // namespace

void write_output(const OutputArgs& args) {
  check_finite(args.stack);
  fs::create_directories(args.folder);
  const std::string config = args.method.config_json();
  if (config.empty())
    write_whole_model(args);
  else
    write_adapter(args, config);
}

}  // namespace llmhost::train
