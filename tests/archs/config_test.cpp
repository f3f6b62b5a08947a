// Which configs an architecture takes: tests/data/archs/configs.json changes keys of golden cases, to those
// that published configs carry, which must load with the context length given, or to another way of
// computing, which must be refused with the key named.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/loader.h"
#include "plugin/registry.h"
#include "support/paths.h"

namespace llmhost::test {
namespace {

namespace fs = std::filesystem;

// A golden case with another config, in a folder that goes with it.
class ChangedModel {
 public:
  explicit ChangedModel(const Json& change) {
    std::string name = (fs::temp_directory_path() / "llmhost-archs-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    const fs::path golden = data("goldens") / change["golden"].get<std::string>();
    Json config = read_json_file(golden / "config.json");
    config.update(change["set"]);
    write_file_atomically(folder_ / "config.json", config.dump());
    fs::copy_file(golden / "model.safetensors", folder_ / "model.safetensors");
  }
  ~ChangedModel() { fs::remove_all(folder_); }
  ChangedModel(const ChangedModel&) = delete;
  ChangedModel& operator=(const ChangedModel&) = delete;

  std::unique_ptr<model::LoadedModel> load() const {
    plugin::RegistryOptions options;
    options.plugin_path = {LLMHOST_BINARY_DIR "/lib/llmhost/plugins"};
    options.use_default_path = false;
    options.allow_insecure = true;  // a build folder may be group-writable
    const plugin::Registry registry(options);
    return model::load_model(folder_, registry, {});
  }

  // The message of the refusal, or nothing.
  std::string refusal() const {
    try {
      load();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

 private:
  fs::path folder_;
};

}  // namespace

TEST_CASE("keys of published configs load, other maths are refused by name") {
  for (const Json& change : read_json_file(data("archs/configs.json"))) {
    CAPTURE(change.dump());
    const ChangedModel model(change);
    const std::string refusal = model.refusal();
    CAPTURE(refusal);
    if (change.contains("refused")) {
      CHECK(refusal.find(change["refused"].get<std::string>()) != std::string::npos);
    } else {
      REQUIRE(refusal.empty());
      CHECK(model.load()->info().context_length == change["context"].get<int64_t>());
    }
  }
}

}  // namespace llmhost::test
