#include "train/trained_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/names.h"
#include "engine/adapter_folder.h"
#include "model/safetensors.h"

namespace llmhost::train {
namespace {

void read_value(const model::SafetensorsFile& file, const TrainedValue& value) {
  const model::SafetensorsTensor* const stored = file.find(value.file_name);
  if (stored == nullptr)
    throw_error(ErrorCode::kNotFound, "{}: has no tensor '{}'", file.name(), value.file_name);
  if (stored->shape != value.shape)
    throw_invalid("{}: tensor '{}' is [{}], what is trained is [{}]", file.name(), value.file_name,
                  fmt::join(stored->shape, ","), fmt::join(value.shape, ","));
  const bool is_plain =
      stored->dtype == LLMH_DTYPE_F32 || stored->dtype == LLMH_DTYPE_F16 || stored->dtype == LLMH_DTYPE_BF16;
  if (!is_plain)
    throw_invalid("{}: tensor '{}' is {}: f32, f16 or bf16 is wanted", file.name(), value.file_name,
                  stored->dtype_name);
  dequantize_row(stored->dtype, stored->data().data(), value.value.data(), value.value.size());
  if (!std::ranges::all_of(value.value, [](float x) { return std::isfinite(x); }))
    throw_invalid("{}: tensor '{}' has a value that is not finite", file.name(), value.file_name);
}

}  // namespace

void read_values(const std::filesystem::path& path, std::span<const TrainedValue> trained) {
  const bool is_folder = std::filesystem::is_directory(path);
  const auto file = model::SafetensorsFile::open(is_folder ? path / engine::kAdapterTensorFile : path);
  for (const TrainedValue& value : trained) read_value(file, value);
}

}  // namespace llmhost::train
