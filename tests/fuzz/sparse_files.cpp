// What the plugin for sparse training reads of files: the state of masks in a checkpoint, adapter_config.json
// of sparse adapters, and their indices.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "masked_training.h"
#include "peft/modules.h"
#include "shira_config.h"

namespace {

struct Model {
  llmh_base_module module{};
  const llmh_base_module* pointer = &module;
  llmh_base_model base{};

  Model() {
    module.struct_size = sizeof module;
    module.kind = LLMH_MODULE_LINEAR;
    module.path = llmh::str("model.layers.0.self_attn.q_proj");
    module.in_features = 3;
    module.out_features = 5;
    base.struct_size = sizeof base;
    base.n_modules = 1;
    base.modules = &pointer;
  }
};

void read_state(std::string_view text) {
  sparse::MaskedTraining training({});
  training.set_state(text);
  if (training.state() != text) {
    // Only bits behind the last entry of a mask may differ, and a second reading changes nothing.
    sparse::MaskedTraining again({});
    again.set_state(training.state());
    if (again.state() != training.state()) __builtin_trap();
  }
}

void read_config(std::string_view text) {
  static const Model model;
  static_cast<void>(sparse::is_shira(text));
  const peft::AdapterConfig config = sparse::parse_shira_config(text);
  const peft::ModuleTable table(model.base);
  const peft::Selection selection(config, table);
  selection.check_no_container_is_target();
  static_cast<void>(selection.branch(table.modules().front()).has_value());
}

void read_indices(std::string_view text) {
  std::vector<float> data(text.size() / sizeof(float) / 2 * 2);
  if (data.empty()) return;
  std::memcpy(data.data(), text.data(), data.size() * sizeof(float));
  llmh_adapter_tensor tensor{};
  tensor.struct_size = sizeof tensor;
  tensor.rank = 2;
  tensor.shape[0] = 2;
  tensor.shape[1] = static_cast<int64_t>(data.size() / 2);
  tensor.name = llmh::str("indices");
  tensor.data = data.data();
  for (const int32_t entry : sparse::flat_indices(tensor, 3, 5))
    if (entry < 0 || entry >= 15) __builtin_trap();
}

}  // namespace

// The first byte says which reader.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] == 's') read_state(text);
    if (data[0] == 'c') read_config(text);
    if (data[0] == 'i') read_indices(text);
  } catch (const llmh::Error&) {
  }
  return 0;
}
