// A quantised checkpoint: a safetensors file whose metadata has the quantization_config under "config".
#include "model/quantised.h"

#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "core/json.h"
#include "model/safetensors.h"

namespace {

using namespace llmhost::model;

constexpr uint64_t kMaxDecoded = uint64_t{1} << 22;

std::vector<CheckpointTensor> tensors_of(const SafetensorsFile& file) {
  std::vector<CheckpointTensor> tensors;
  for (const SafetensorsTensor& tensor : file.tensors())
    tensors.push_back({.name = tensor.name,
                       .file = tensor.file,
                       .stored_type = tensor.dtype_name,
                       .dtype = tensor.dtype,
                       .shape = tensor.shape,
                       .bytes = {tensor.begin, static_cast<size_t>(tensor.size_bytes)}});
  return tensors;
}

void decode(const CheckpointTensor& tensor) {
  if (tensor.decoder == nullptr) return;
  const llmh_dtype_layout layout = llmh_dtype_layout_of(tensor.dtype);
  const auto count = static_cast<uint64_t>(tensor.element_count());
  if (count > kMaxDecoded) return;
  std::vector<std::byte> out(count / layout.block_elements * layout.block_bytes);
  tensor.decoder->decode(out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const SafetensorsFile file = SafetensorsFile::from_bytes(std::as_bytes(std::span(data, size)), "fuzz");
    const auto text = file.metadata().find("config");
    if (text == file.metadata().end()) return 0;
    const llmhost::Json config = {{"quantization_config", parse_model_config(text->second, "fuzz")}};
    const QuantisedWeights read = read_quantised(tensors_of(file), config, "fuzz", "nowhere");
    for (const CheckpointTensor& tensor : read.tensors) decode(tensor);
  } catch (const llmhost::Error&) {
  }
  return 0;
}
