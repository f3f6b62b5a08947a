#include "train/trained_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/names.h"
#include "engine/adapter_folder.h"
#include "model/safetensors.h"

namespace llmhost::train {
namespace {

// [columns,rows] of [rows,columns].
std::vector<float> transposed(std::span<const float> values, size_t rows, size_t columns) {
  std::vector<float> result(values.size());
  for (size_t row = 0; row < rows; ++row)
    for (size_t column = 0; column < columns; ++column)
      result[column * rows + row] = values[row * columns + column];
  return result;
}

void read_value(const model::SafetensorsFile& file, const TrainedValue& value) {
  const model::SafetensorsTensor* const stored = file.find(value.file_name);
  if (stored == nullptr)
    throw_error(ErrorCode::kNotFound, "{}: has no tensor '{}'", file.name(), value.file_name);
  const std::vector<int64_t> shape = file_shape(value);
  if (stored->shape != shape)
    throw_invalid("{}: tensor '{}' is [{}], what is trained is [{}]", file.name(), value.file_name,
                  fmt::join(stored->shape, ","), fmt::join(shape, ","));
  const bool is_plain =
      stored->dtype == LLMH_DTYPE_F32 || stored->dtype == LLMH_DTYPE_F16 || stored->dtype == LLMH_DTYPE_BF16;
  if (!is_plain)
    throw_invalid("{}: tensor '{}' is {}: f32, f16 or bf16 is wanted", file.name(), value.file_name,
                  stored->dtype_name);
  dequantize_row(stored->dtype, stored->data().data(), value.value.data(), value.value.size());
  if (!std::ranges::all_of(value.value, [](float x) { return std::isfinite(x); }))
    throw_invalid("{}: tensor '{}' has a value that is not finite", file.name(), value.file_name);
  if (value.is_transposed)
    std::ranges::copy(transposed(value.value, static_cast<size_t>(shape[0]), static_cast<size_t>(shape[1])),
                      value.value.begin());
}

}  // namespace

void read_values(const std::filesystem::path& path, std::span<const TrainedValue> trained) {
  const bool is_folder = std::filesystem::is_directory(path);
  const auto file = model::SafetensorsFile::open(is_folder ? path / engine::kAdapterTensorFile : path);
  for (const TrainedValue& value : trained) read_value(file, value);
}

bool is_stored_transposed(const model::HubTensor& weight) {
  return weight.shape.size() == 2 && std::ranges::any_of(weight.steps, [](const llmh_layout_step& step) {
           return step.layout == LLMH_LAYOUT_TRANSPOSED;
         });
}

std::vector<int64_t> file_shape(const TrainedValue& value) {
  std::vector<int64_t> shape = value.shape;
  if (value.is_transposed) std::swap(shape[0], shape[1]);
  return shape;
}

std::vector<float> in_file_order(const TrainedValue& value, std::span<const float> values) {
  if (!value.is_transposed) return {values.begin(), values.end()};
  return transposed(values, static_cast<size_t>(value.shape[0]), static_cast<size_t>(value.shape[1]));
}

}  // namespace llmhost::train
