#include "model/written_type.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/quantize.h"
#include "model/gguf_writer.h"
#include "model/safetensors.h"

namespace llmhost::model {
namespace {

bool is_written(llmh_dtype dtype, CheckpointFormat format) {
  if (!can_quantize(dtype)) return false;
  return format == CheckpointFormat::kGguf ? ggml_type_of(dtype).has_value()
                                           : !safetensors_dtype_name(dtype).empty();
}

double bits_of(llmh_dtype dtype) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  return 8.0 * layout.block_bytes / layout.block_elements;
}

std::vector<llmh_dtype> types_of(CheckpointFormat format) {
  std::vector<llmh_dtype> types;
  for (llmh_dtype dtype = LLMH_DTYPE_INVALID + 1; dtype < LLMH_DTYPE_COUNT_; ++dtype)
    if (is_written(dtype, format)) types.push_back(dtype);
  std::stable_sort(types.begin(), types.end(),
                   [](llmh_dtype a, llmh_dtype b) { return bits_of(a) > bits_of(b); });
  return types;
}

}  // namespace

std::vector<std::string> written_types(CheckpointFormat format) {
  std::vector<std::string> names;
  for (const llmh_dtype dtype : types_of(format)) names.emplace_back(llmh_dtype_layout_of(dtype).name);
  return names;
}

llmh_dtype parse_written_type(const std::string& name, CheckpointFormat format) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const llmh_dtype dtype : types_of(format))
    if (lower == llmh_dtype_layout_of(dtype).name) return dtype;
  throw UsageError(fmt::format("'{}' is no element type that is written here; there are {}", name,
                               fmt::join(written_types(format), ", ")));
}

}  // namespace llmhost::model
