// config.json, generation_config.json and model.safetensors.index.json, as a checkpoint reads them.
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "core/json.h"
#include "model/checkpoint.h"
#include "model/checkpoint_files.h"
#include "model/generation_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace llmhost::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    static_cast<void>(parse_generation_config(parse_model_config(text, "fuzz"), "fuzz"));
  } catch (const llmhost::Error&) {
  }
  try {
    static_cast<void>(parse_weight_map(text, "fuzz"));
  } catch (const llmhost::Error&) {
  }
  return 0;
}
