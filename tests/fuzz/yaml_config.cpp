// A config file of any bytes gives settings or one line of error, never more work than its limits allow.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/config.h"
#include "core/error.h"

namespace {

const llmhost::ConfigSchema& schema() {
  static const llmhost::ConfigSchema kSchema = [] {
    llmhost::ConfigSchema result;
    result.add_int("engine.threads", 0, 0, 1024, "")
        .add_bool("engine.prefix_cache", true, "")
        .add_float("sampling.temperature", 0.8, 0, 10, "")
        .add_enum("engine.cache_type", {"f16", "q8_0"}, "f16", "")
        .add_string("model.path", "", "")
        .add_list("plugins.paths", {}, "");
    return result;
  }();
  return kSchema;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  llmhost::Settings settings(schema());
  try {
    settings.load_text({reinterpret_cast<const char*>(data), size}, "fuzz.yaml");
    const int64_t threads = settings.get_int("engine.threads");
    if (threads < 0 || threads > 1024) std::abort();
  } catch (const llmhost::Error& e) {
    if (std::string_view(e.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
