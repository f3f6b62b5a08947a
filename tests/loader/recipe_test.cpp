// Models that nobody described: who may read them off the checkpoint, and what is told about it.
#include <doctest/doctest.h>

#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "model/loader.h"
#include "model/safetensors.h"
#include "support/paths.h"

namespace llmhost::test {
namespace {

namespace fs = std::filesystem;

// A model of one tensor, for the plugins of reader_plugin.cpp.
class Mystery {
 public:
  explicit Mystery(const std::string& config) {
    std::string name = (fs::temp_directory_path() / "llmhost-recipe-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    write_file_atomically(folder_ / "config.json", config);
    const std::vector<std::byte> bytes(8 * 4 * sizeof(float));
    model::write_safetensors(folder_ / "model.safetensors",
                             {{"embed.weight", LLMH_DTYPE_F32, {8, 4}, bytes}});
  }
  ~Mystery() { fs::remove_all(folder_); }
  Mystery(const Mystery&) = delete;
  Mystery& operator=(const Mystery&) = delete;

  std::unique_ptr<model::LoadedModel> load(std::vector<std::string> plugins,
                                           const std::string& arch = "") const {
    plugin::RegistryOptions options;
    for (const std::string& id : plugins)
      options.plugin_path.push_back(LLMHOST_LOADER_PLUGINS "/loader_test_" + id + ".so");
    options.use_default_path = false;
    options.allow_insecure = true;
    const plugin::Registry registry(options);
    return model::load_model(folder_, registry, {arch, false});
  }

 private:
  fs::path folder_;
};

constexpr const char* kConfig = R"({"model_type": "mystery", "vocab_size": 8, "hidden_size": 4})";

}  // namespace

TEST_CASE("a recipe that was read off the checkpoint is kept with its guesses as a warning") {
  const auto loaded = Mystery(kConfig).load({"reader"});
  CHECK(loaded->arch_id() == "reader");
  CHECK(loaded->is_inferred());
  REQUIRE(loaded->recipe().size() == 2);
  const model::RecipeChoice& type = loaded->recipe()[0];
  CHECK(type.what == "type");
  CHECK(type.value == "mystery");
  CHECK(type.source == "config: model_type");
  CHECK(type.certainty == 100);
  CHECK_FALSE(type.is_guess());
  CHECK(loaded->recipe()[1].is_guess());
  CHECK(loaded->recipe_text() == "model_type: mystery\nhead: tied");
  REQUIRE(loaded->warnings().size() == 1);
  CHECK(loaded->warnings()[0].find(
            "nobody described this model type; architecture 'reader' guessed head=tied (40 %)") !=
        std::string::npos);
}

TEST_CASE("whoever knows the model type comes before who infers it, whatever the score") {
  for (const auto& order :
       {std::vector<std::string>{"reader", "weak"}, std::vector<std::string>{"weak", "reader"}}) {
    const auto loaded = Mystery(kConfig).load(order);
    CHECK(loaded->arch_id() == "weak");
    CHECK_FALSE(loaded->is_inferred());
    CHECK(loaded->recipe().empty());
    CHECK(loaded->recipe_text().empty());
    CHECK(loaded->warnings().empty());
  }
}

TEST_CASE("the architecture that is named is taken") {
  const auto loaded = Mystery(kConfig).load({"weak", "reader"}, "reader");
  CHECK(loaded->arch_id() == "reader");
  CHECK(loaded->is_inferred());
  CHECK(loaded->recipe().size() == 2);
}

TEST_CASE("a config without a model type is left to those who know none") {
  const Mystery nameless(R"({"vocab_size": 8, "hidden_size": 4})");
  CHECK(nameless.load({"reader"})->is_inferred());
  CHECK_THROWS_WITH_AS(nameless.load({}), doctest::Contains("'model_type' is missing"), Error);
  CHECK_THROWS_WITH_AS(Mystery(kConfig).load({}), doctest::Contains("no plugin for model type 'mystery'"),
                       Error);
}

TEST_CASE("what the architecture refuses stays its own message") {
  const Mystery incomplete(R"({"model_type": "mystery", "vocab_size": 8})");
  CHECK_THROWS_WITH_AS(incomplete.load({"reader"}), doctest::Contains("'hidden_size' is missing"), Error);
}

}  // namespace llmhost::test
