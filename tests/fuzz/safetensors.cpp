// A safetensors file: header and the bytes that its tensors span.
#include "model/safetensors.h"

#include <cstddef>
#include <cstdint>

#include "core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace llmhost::model;
  try {
    const SafetensorsFile file = SafetensorsFile::from_bytes(std::as_bytes(std::span(data, size)), "fuzz");
    size_t sum = 0;
    for (const SafetensorsTensor& tensor : file.tensors()) {
      if (file.find(tensor.name) == nullptr) __builtin_trap();
      if (tensor.dtype == LLMH_DTYPE_INVALID || tensor.data().empty()) continue;
      sum += std::to_integer<size_t>(tensor.data().front()) + std::to_integer<size_t>(tensor.data().back());
    }
    if (sum == SIZE_MAX) __builtin_trap();  // keeps the reads
  } catch (const llmhost::Error&) {
  }
  return 0;
}
