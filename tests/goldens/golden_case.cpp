#include "goldens/golden_case.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/json.h"
#include "engine/engine.h"
#include "engine/model_stack.h"
#include "engine/settings.h"
#include "model/safetensors.h"
#include "plugin/registry.h"
#include "support/paths.h"

namespace llmhost::test {
namespace {

template <typename T>
std::vector<T> read_tensor(const model::SafetensorsFile& file, const std::string& name) {
  const model::SafetensorsTensor* tensor = file.find(name);
  if (tensor == nullptr) throw std::runtime_error(file.name() + ": no tensor " + name);
  const auto bytes = tensor->data();
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Tolerance read_tolerance(const Json& level) {
  return {level["max_abs"].get<double>(), level.value("mean_kl", 0.0)};
}

plugin::Registry& registry() {
  static plugin::Registry* instance = [] {
    plugin::RegistryOptions options;
    options.plugin_path = {std::string(LLMHOST_BINARY_DIR) + "/lib/llmhost/plugins"};
    options.use_default_path = false;
    options.allow_insecure = true;  // a build folder may be group-writable
    return new plugin::Registry(options);
  }();
  return *instance;
}

}  // namespace

std::vector<std::string> golden_case_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data("goldens")))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

GoldenCase load_golden_case(const std::string& name) {
  const std::filesystem::path folder = data("goldens") / name;
  const Json spec = read_json_file(folder / "expected.json");
  const auto file = model::SafetensorsFile::open(folder / "expected.safetensors");
  GoldenCase golden;
  golden.name = name;
  golden.model = std::filesystem::exists(folder / "model.gguf") ? folder / "model.gguf" : folder;
  const Json& levels = spec["tolerance"];
  golden.f32 = read_tolerance(levels["f32"]);
  for (const char* level : {"int8", "half"})
    if (!golden.rounded && levels.contains(level)) golden.rounded = read_tolerance(levels[level]);
  for (size_t i = 0; i < spec["prompts"].size(); ++i) {
    const std::string suffix = "_" + std::to_string(i);
    golden.prompts.push_back(
        {read_tensor<int32_t>(file, "input_ids" + suffix), read_tensor<float>(file, "logits" + suffix),
         read_tensor<int32_t>(file, "tokens" + suffix), read_tensor<float>(file, "step_margin" + suffix),
         spec["prompts"][i]["check_tokens"].get<bool>()});
  }
  return golden;
}

std::vector<ActualOutput> run_prompts(const std::filesystem::path& model_path,
                                      const std::vector<std::vector<int32_t>>& prompts, int64_t generate,
                                      const RunShape& shape) {
  Settings settings(engine::settings_schema());
  settings.set("engine.threads", std::to_string(shape.threads));
  settings.set("backend.name", shape.backend);
  settings.set("engine.precision", shape.precision);
  const auto model = model::load_model(model_path, registry());
  engine::HostDevice host(registry(), settings, engine::RunUse::kLogits);
  engine::RunnerOptions limits;
  limits.max_tokens = shape.batch_tokens;
  limits.max_sequences = shape.sequences;
  limits.max_outputs = shape.batch_tokens;
  limits.max_context = 320;
  limits.kv_dtype = LLMH_DTYPE_F32;
  engine::ModelStack stack(*model, host.device(), limits);
  engine::EngineOptions options;
  options.prefill_chunk = shape.prefill_chunk;
  engine::Engine engine(stack.runner(), options);

  std::vector<ActualOutput> outputs(prompts.size());
  std::vector<engine::RequestId> ids;
  for (size_t i = 0; i < prompts.size(); ++i) {
    engine::Request request;
    request.prompt = prompts[i];
    request.max_tokens = generate;
    request.sampling.temperature = 0;
    request.on_prompt_logits = [&, i](const engine::PromptLogits& logits) {
      outputs[i].logits.insert(outputs[i].logits.end(), logits.rows.begin(), logits.rows.end());
    };
    ids.push_back(engine.submit(std::move(request)));
  }
  engine.run_all();
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto result = engine.take_result(ids[i]);
    if (!result->error.empty()) throw std::runtime_error(result->error);
    outputs[i].tokens = result->tokens;
  }
  return outputs;
}

}  // namespace llmhost::test
