// GGUF bytes through everything that reads them: metadata, nested arrays, tensors, configuration.
#include "model/gguf.h"

#include <cstddef>
#include <cstdint>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/json.h"
#include "model/generation_config.h"
#include "model/gguf_config.h"

namespace {

using namespace llmhost::model;

size_t walk(const GgufArray& array) {
  size_t sum = array.size();
  if (array.element_type() == GgufType::kString) {
    for (const std::string_view text : array.strings())
      sum += text.empty() ? 0 : static_cast<size_t>(text.back());
  } else if (array.element_type() == GgufType::kArray) {
    for (const GgufArray& inner : array.arrays()) sum += walk(inner);
  } else if (array.element_type() != GgufType::kBool) {
    for (size_t i = 0; i < array.size(); ++i) sum += array.f64_at(i) > 0 ? 1 : 0;
  }
  return sum;
}

size_t read_all(const GgufFile& file) {
  size_t sum = 0;
  for (const GgufValue& value : file.metadata())
    sum += value.type() == GgufType::kArray ? walk(value.as_array()) : value.key().size();
  for (const GgufTensor& tensor : file.tensors()) {
    sum += tensor.shape().size();
    if (tensor.dtype == LLMH_DTYPE_INVALID) continue;
    const llmh_dtype_layout layout = llmh_dtype_layout_of(tensor.dtype);
    float row[256];
    if (llmhost::can_dequantize(tensor.dtype))
      llmhost::dequantize_row(tensor.dtype, tensor.data().data(), row, layout.block_elements);
    sum += std::to_integer<size_t>(tensor.data().back());
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const GgufFile file = GgufFile::from_bytes(std::as_bytes(std::span(data, size)), "fuzz");
    if (read_all(file) == SIZE_MAX) __builtin_trap();  // keeps the reads
    static_cast<void>(gguf_generation_config(file));
    static_cast<void>(gguf_to_config(file).config.dump());
  } catch (const llmhost::Error&) {
  }
  return 0;
}
