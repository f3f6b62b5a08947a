#include "train/output.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "engine/adapter_folder.h"
#include "model/safetensors.h"
#include "model/weights.h"
#include "train/quantised_base.h"

namespace llmhost::train {
namespace {

std::vector<model::SafetensorsEntry> entries_of(const OutputArgs& args) {
  std::vector<model::SafetensorsEntry> entries;
  for (const TrainedValue& tensor : args.stack.trained()) {
    if (!std::ranges::all_of(tensor.value, [](float x) { return std::isfinite(x); }))
      throw_error(ErrorCode::kDataLoss, "trained tensor '{}' has a value that is not finite", tensor.name);
    entries.push_back({tensor.file_name, LLMH_DTYPE_F32, tensor.shape,
                       std::as_bytes(std::span<const float>(tensor.value))});
  }
  return entries;
}

}  // namespace

void write_output(const OutputArgs& args) {
  const std::string config = args.method.config_json();
  if (config.empty())
    throw_error(ErrorCode::kUnimplemented, "method '{}' makes whole models, which cannot be written yet",
                args.method.name());
  std::filesystem::create_directories(args.folder);
  std::vector<model::SafetensorsEntry> entries = entries_of(args);
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
  OrderedJson json = parse_ordered_json(config, "adapter config");
  json["base_model_name_or_path"] = args.model.checkpoint().path().string();
  // The file that makes it an adapter comes last.
  write_file_atomically(args.folder / engine::kAdapterConfigFile, json.dump(2) + "\n");
}

}  // namespace llmhost::train
