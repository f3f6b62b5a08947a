// Models of tests/data/finetune, and methods from a line of YAML.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/model_stack.h"
#include "engine/settings.h"
#include "model/loader.h"
#include "model/safetensors.h"
#include "support/built_plugins.h"
#include "support/paths.h"
#include "train/method.h"
#include "train/training_stack.h"

namespace llmhost::test {

inline std::unique_ptr<train::Method> open_method(const std::string& name, const std::string& yaml) {
  return train::Method::open(built_plugins(), name, parse_yaml(yaml, "job.yaml"), "job.yaml");
}

// Opened once a test.
inline const model::LoadedModel& loaded(const std::string& name) {
  static std::map<std::string, std::unique_ptr<model::LoadedModel>> models;
  auto& model = models[name];
  if (model == nullptr) model = model::load_model(test::data("finetune/" + name), built_plugins());
  return *model;
}

inline const engine::Device& device_of(const std::string& backend) {
  static std::map<std::string, std::unique_ptr<engine::HostDevice>> devices;
  auto& device = devices[backend];
  if (device == nullptr) {
    Settings settings(engine::settings_schema());
    settings.set("engine.threads", "2");
    settings.set("backend.name", backend);
    device = std::make_unique<engine::HostDevice>(built_plugins(), settings, engine::RunUse::kLogits);
  }
  return device->device();
}

template <typename T>
std::vector<T> tensor_values(const model::SafetensorsFile& file, const std::string& name) {
  const model::SafetensorsTensor* const tensor = file.find(name);
  if (tensor == nullptr) throw_invalid("{}: no tensor {}", file.name(), name);
  std::vector<T> values(tensor->size_bytes / sizeof(T));
  std::memcpy(values.data(), tensor->data().data(), tensor->size_bytes);
  return values;
}

}  // namespace llmhost::test
