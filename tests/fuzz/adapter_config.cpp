// adapter_config.json as the plugins for adapters read it: the config, then which modules of a small model it
// names.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "llmhost/plugin.hpp"
#include "peft/config.h"
#include "peft/modules.h"

namespace {

// Every pattern is matched against these.
constexpr const char* kPaths[] = {"model.embed_tokens", "model.layers.0.self_attn.q_proj",
                                  "model.layers.11.block_sparse_moe.gate", "model.norm", "lm_head"};

struct Model {
  llmh_base_module modules[std::size(kPaths)] = {};
  const llmh_base_module* pointers[std::size(kPaths)] = {};
  llmh_base_model base{};

  Model() {
    for (size_t i = 0; i < std::size(kPaths); ++i) {
      modules[i].struct_size = sizeof modules[i];
      modules[i].kind = i == 0 ? LLMH_MODULE_EMBEDDING : i == 3 ? LLMH_MODULE_NORM : LLMH_MODULE_LINEAR;
      modules[i].path = llmh::str(kPaths[i]);
      modules[i].in_features = modules[i].out_features = 4;
      pointers[i] = &modules[i];
    }
    base.struct_size = sizeof base;
    base.n_modules = std::size(kPaths);
    base.modules = pointers;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Model model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(peft::kind_of(text));
  try {
    const peft::AdapterConfig config = peft::parse_config(text);
    peft::ModuleTable table(model.base);
    table.resolve(text.substr(0, 64));
    const peft::Selection selection(config, table);
    selection.check_no_container_is_target();
    for (const peft::Module& module : table.modules())
      static_cast<void>(selection.branch(module).has_value() || selection.is_saved(module));
  } catch (const llmh::Error&) {
  }
  return 0;
}
