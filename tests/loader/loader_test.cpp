// The loader's audit: whatever the architecture did not use or understand is refused by name. Each test
// changes one thing of a model that loads.
#include "model/loader.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/safetensors.h"
#include "support/paths.h"

namespace llmhost::test {
namespace {

namespace fs = std::filesystem;

// A copy of a golden model whose config and tensors a test may change.
class EditableModel {
 public:
  explicit EditableModel(const std::string& golden)
      : folder_(fs::temp_directory_path() / fs::path("llmhost-loader-XXXXXX")) {
    std::string name = folder_.string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    config = read_json_file(data("goldens") / golden / "config.json");
    const auto file = model::SafetensorsFile::open(data("goldens") / golden / "model.safetensors");
    for (const model::SafetensorsTensor& tensor : file.tensors()) {
      const auto bytes = tensor.data();
      tensors.push_back({tensor.name, tensor.dtype, tensor.shape, {bytes.begin(), bytes.end()}});
    }
  }
  ~EditableModel() { fs::remove_all(folder_); }
  EditableModel(const EditableModel&) = delete;
  EditableModel& operator=(const EditableModel&) = delete;

  struct Tensor {
    std::string name;
    llmh_dtype dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };

  Tensor& tensor(const std::string& name) {
    for (Tensor& candidate : tensors)
      if (candidate.name == name) return candidate;
    throw std::runtime_error("no tensor " + name);
  }

  std::unique_ptr<model::LoadedModel> load(const model::LoadOptions& options = {}) {
    write_file_atomically(folder_ / "config.json", config.dump());
    std::vector<model::SafetensorsEntry> entries;
    for (const Tensor& t : tensors) entries.push_back({t.name, t.dtype, t.shape, t.bytes});
    model::write_safetensors(folder_ / "model.safetensors", entries);
    plugin::RegistryOptions plugins;
    plugins.plugin_path = {LLMHOST_BINARY_DIR "/lib/llmhost/plugins/llama.so"};
    plugins.use_default_path = false;
    plugins.allow_insecure = true;  // a build folder may be group-writable
    const plugin::Registry registry(plugins);
    return model::load_model(folder_, registry, options);
  }

  // The message of the refusal.
  std::string refusal() {
    try {
      load();
    } catch (const Error& e) {
      return e.what();
    }
    return "it was loaded";
  }

  Json config;
  std::vector<Tensor> tensors;

 private:
  fs::path folder_;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr const char* kQ = "model.layers.1.self_attn.q_proj.weight";

}  // namespace

TEST_CASE("an untouched model loads and every tensor has its use") {
  EditableModel model("llama-gqa");
  const auto loaded = model.load();
  CHECK(loaded->arch_id() == "llama");
  CHECK(loaded->info().n_layers == 2);
  CHECK(loaded->states().size() == 2);
  CHECK(loaded->weights_of(loaded->graph()).size() == model.tensors.size());
  CHECK(loaded->warnings().empty());
}

TEST_CASE("a tensor that nobody uses is refused by name") {
  EditableModel model("llama-gqa");
  model.tensors.push_back(
      {"model.layers.0.self_attn.q_norm.weight", LLMH_DTYPE_F32, {16}, std::vector<std::byte>(64)});
  CHECK(has(model.refusal(), "model.layers.0.self_attn.q_norm.weight"));
}

TEST_CASE("best effort loads it all the same and keeps the warning") {
  EditableModel model("llama-gqa");
  model.tensors.push_back({"extra.weight", LLMH_DTYPE_F32, {16}, std::vector<std::byte>(64)});
  const auto loaded = model.load({"", true});
  REQUIRE(loaded->warnings().size() == 1);
  CHECK(has(loaded->warnings()[0], "extra.weight"));
}

TEST_CASE("a missing tensor is refused by name") {
  EditableModel model("llama-gqa");
  std::erase_if(model.tensors, [](const EditableModel::Tensor& t) { return t.name == kQ; });
  CHECK(has(model.refusal(), kQ));
}

TEST_CASE("a wrong shape is refused with both shapes") {
  EditableModel model("llama-gqa");
  EditableModel::Tensor& q = model.tensor(kQ);
  std::swap(q.shape[0], q.shape[1]);
  q.shape = {32, 128};
  const std::string message = model.refusal();
  CHECK(has(message, kQ));
  CHECK(has(message, "[32,128]"));
  CHECK(has(message, "[64,64]"));
}

TEST_CASE("a config key that may change the maths is refused by name") {
  EditableModel model("llama-gqa");
  model.config["attn_logit_softcapping"] = 30.0;
  CHECK(has(model.refusal(), "attn_logit_softcapping"));
}

TEST_CASE("an unknown key inside rope_scaling is refused with its path") {
  EditableModel model("llama-rope-linear");
  model.config["rope_scaling"]["ntk_alpha"] = 2;
  CHECK(has(model.refusal(), "rope_scaling.ntk_alpha"));
}

TEST_CASE("bookkeeping keys and nulls do not matter") {
  EditableModel model("llama-gqa");
  model.config["_name_or_path"] = "somewhere";
  model.config["_model_name_or_path"] = "Tiny";  // of checkpoints that transformers made from GGUF files
  model.config["attention_dropout"] = 0.1;
  model.config["sliding_window"] = nullptr;
  model.config["id2label"] = {{"0", "LABEL_0"}};
  CHECK_NOTHROW(model.load());
}

TEST_CASE("a key of the wrong type is named") {
  EditableModel model("llama-gqa");
  model.config["num_attention_heads"] = "four";
  const std::string message = model.refusal();
  CHECK(has(message, "num_attention_heads"));
  CHECK(has(message, "four"));
}

TEST_CASE("sizes out of range, unknown scalings and activations are refused") {
  const std::vector<std::pair<std::function<void(Json&)>, std::string>> changes = {
      {[](Json& c) { c["num_hidden_layers"] = 0; }, "num_hidden_layers"},
      {[](Json& c) { c["num_hidden_layers"] = 2'000'000'000; }, "number of layers"},
      {[](Json& c) { c["num_attention_heads"] = -4; }, "num_attention_heads"},
      {[](Json& c) { c["num_local_experts"] = 8; }, "no plugin for model type"},
      {[](Json& c) { c["sliding_window"] = 8; }, "sliding_window"},
      {[](Json& c) { c["partial_rotary_factor"] = 0.5; }, "partial_rotary_factor"},
      {[](Json& c) {
         c["layer_types"] = {"full_attention", "sliding_attention"};
       },
       "layer_types"},
      {[](Json& c) { c["num_key_value_heads"] = 3; }, "num_key_value_heads"},
      {[](Json& c) { c["hidden_size"] = int64_t{1} << 40; }, "hidden_size"},
      {[](Json& c) { c["hidden_act"] = "swishy"; }, "swishy"},
      {[](Json& c) {
         c["rope_scaling"] = {{"type", "cubic"}, {"factor", 2.0}};
       },
       "cubic"},
      {[](Json& c) {
         c["rope_scaling"] = {{"type", "linear"}};
       },
       "rope_scaling.factor"},
      {[](Json& c) { c.erase("hidden_size"); }, "hidden_size"},
      {[](Json& c) { c["model_type"] = "unheard-of"; }, "unheard-of"},
      {[](Json& c) {
         c["quantization_config"] = {{"quant_method", "nobody"}};
       },
       "quantization_config"}};
  for (const auto& [change, expected] : changes) {
    EditableModel model("llama-gqa");
    change(model.config);
    const std::string message = model.refusal();
    CAPTURE(message);
    CHECK(has(message, expected));
    CHECK(message.find('\n') == std::string::npos);
  }
}

}  // namespace llmhost::test
