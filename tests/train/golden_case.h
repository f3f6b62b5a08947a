// Cases of tests/data/finetune: what PEFT and torch computed, and the same here.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/json.h"
#include "core/yaml.h"
#include "engine/model_stack.h"
#include "engine/settings.h"
#include "model/loader.h"
#include "model/safetensors.h"
#include "support/built_plugins.h"
#include "support/paths.h"
#include "train/stepper.h"
#include "train/trained_files.h"

namespace llmhost::test {

// The tolerances of the data's README: absolute, f32.
inline constexpr double kLossLimit = 2e-5;
inline constexpr double kGradientLimit = 2e-5;
inline constexpr double kPathLossLimit = 1e-4;
inline constexpr double kPathNormLimit = 1e-4;  // times max(1, norm)
inline constexpr double kFinalLimit = 2e-5;

inline std::filesystem::path golden(const std::string& name) {
  return data("finetune") / name;
}

// Rows of a batch file: [rows, T] or one of [n, rows, T], padding cut off.
inline std::vector<train::Example> golden_batch(const std::string& kind, size_t index = 0) {
  const auto file = model::SafetensorsFile::open(golden("batches.safetensors"));
  const auto read = [&](const char* what) {
    const auto* const tensor = file.find(kind + what);
    REQUIRE(tensor != nullptr);
    std::vector<int64_t> values(tensor->data().size() / sizeof(int64_t));
    std::memcpy(values.data(), tensor->data().data(), tensor->data().size());
    return std::pair(tensor->shape, std::move(values));
  };
  const auto [shape, ids] = read(".input_ids");
  const auto labels = read(".labels").second;
  const auto mask = read(".attention_mask").second;
  const auto width = static_cast<size_t>(shape.back());
  const auto rows = static_cast<size_t>(shape[shape.size() - 2]);
  std::vector<train::Example> examples;
  for (size_t row = index * rows; row < (index + 1) * rows; ++row) {
    train::Example& example = examples.emplace_back();
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      if (mask[i] == 0) continue;
      example.ids.push_back(static_cast<int32_t>(ids[i]));
      example.labels.push_back(static_cast<int32_t>(labels[i]));
    }
  }
  return examples;
}

inline std::vector<const train::Example*> pointers(const std::vector<train::Example>& examples) {
  std::vector<const train::Example*> result;
  for (const train::Example& example : examples) result.push_back(&example);
  return result;
}

inline std::vector<float> golden_tensor(const std::filesystem::path& path, const std::string& name) {
  const auto file = model::SafetensorsFile::open(path);
  const auto* const tensor = file.find(name);
  if (tensor == nullptr) return {};
  std::vector<float> values(tensor->data().size() / sizeof(float));
  std::memcpy(values.data(), tensor->data().data(), tensor->data().size());
  return values;
}

inline double largest_difference(std::span<const float> got, std::span<const float> expected,
                                 double factor = 1) {
  if (got.size() != expected.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference =
        std::abs(static_cast<double>(got[i]) * factor - static_cast<double>(expected[i]));
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

// A tiny model on a backend, to be trained.
struct GoldenModel {
  explicit GoldenModel(const std::filesystem::path& folder, int32_t threads = 2) {
    const char* const chosen = std::getenv("LLMHOST_TEST_BACKEND");
    const std::string backend = chosen == nullptr ? "cpu" : chosen;
    Settings settings(engine::settings_schema());
    settings.set("engine.threads", std::to_string(threads));
    settings.set("backend.name", backend);
    model = model::load_model(folder, built_plugins());
    host = std::make_unique<engine::HostDevice>(built_plugins(), settings, engine::RunUse::kLogits);
  }
  const engine::Device& device() const { return host->device(); }

  std::unique_ptr<model::LoadedModel> model;
  std::unique_ptr<engine::HostDevice> host;
};

inline train::TrainingOptions golden_options() {
  train::TrainingOptions options;
  options.max_tokens = 160;
  options.max_sequences = 8;
  return options;
}

inline int64_t count_targets(const std::vector<train::Example>& examples) {
  int64_t n = 0;
  for (const train::Example& example : examples) n += example.n_targets();
  return n;
}

// Loss and gradients on the batch `eval`, against `prefix` + file name in `expected`. Returns how many
// tensors were compared.
inline size_t check_gradients(train::TrainingStack& stack, double loss, const std::filesystem::path& expected,
                              const std::string& prefix, double limit = kGradientLimit) {
  const std::vector<train::Example> batch = golden_batch("eval");
  const auto n = static_cast<double>(count_targets(batch));
  stack.zero_gradients();
  CHECK(std::abs(stack.accumulate(pointers(batch), 0) / n - loss) < kLossLimit);
  CHECK(std::abs(stack.loss(pointers(batch)) / n - loss) < kLossLimit);
  size_t compared = 0;
  for (const train::TrainedValue& tensor : stack.trained()) {
    const std::vector<float> want = golden_tensor(expected, prefix + tensor.file_name);
    if (want.empty()) continue;
    ++compared;
    CAPTURE(tensor.file_name);
    CHECK(largest_difference(train::in_file_order(tensor, tensor.gradient), want, 1 / n) < limit);
  }
  return compared;
}

inline train::Stepper::Options stepper_options(const Json& about) {
  const Json& hp = about.at("hp");
  train::Stepper::Options options;
  options.optimizer.lr = hp.at("lr");
  options.optimizer.weight_decay = hp.at("weight_decay");
  options.optimizer.beta1 = hp.at("betas")[0];
  options.optimizer.beta2 = hp.at("betas")[1];
  options.optimizer.eps = hp.at("eps");
  options.optimizer.max_grad_norm = hp.at("clip");
  options.schedule.name = hp.at("schedule");
  options.schedule.warmup_steps = hp.at("warmup");
  options.n_steps = about.at("steps");
  return options;
}

// The trajectory of the case, step by step, then what is left in the trained tensors.
inline void check_path(train::TrainingStack& stack, train::Method& method, const engine::Device& device,
                       const Json& about, const std::filesystem::path& expected) {
  train::Stepper stepper(stack, method, stepper_options(about), device.pool());
  stepper.start();
  std::vector<std::vector<train::Example>> batches;
  for (size_t i = 0; i < 4; ++i) batches.push_back(golden_batch("train", i));
  const Json& path = about.at("traj");
  for (size_t i = 0; i < path.at("loss").size(); ++i) {
    CAPTURE(i);
    const std::vector<std::vector<const train::Example*>> step = {pointers(batches[i % 4])};
    const train::StepResult result = stepper.step(static_cast<int64_t>(i) + 1, step);
    CHECK(std::abs(result.loss - path["loss"][i].get<double>()) < kPathLossLimit);
    const double norm = path["grad_norm"][i];
    CHECK(std::abs(result.grad_norm - norm) < kPathNormLimit * std::max(1.0, norm));
    if (path.contains("lr")) CHECK(result.lr == path["lr"][i].get<double>());
  }
  for (const train::TrainedValue& tensor : stack.trained()) {
    const std::vector<float> want = golden_tensor(expected, "final/" + tensor.file_name);
    if (want.empty()) continue;
    CAPTURE(tensor.file_name);
    CHECK(largest_difference(train::in_file_order(tensor, tensor.value), want) < kFinalLimit);
  }
}

}  // namespace llmhost::test
