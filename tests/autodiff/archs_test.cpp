// Every architecture that has a golden case can be trained: gradients of all its tensors exist and are those
// of finite differences, with and without checkpoints.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "graph/autodiff/trained_weights.h"
#include "model/safetensors.h"
#include "model_run.h"
#include "support/paths.h"

namespace llmhost::test {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<model::LoadedModel> load(const fs::path& folder) {
  plugin::RegistryOptions options;
  options.plugin_path = {LLMHOST_BINARY_DIR "/lib/llmhost/plugins"};
  options.use_default_path = false;
  options.allow_insecure = true;  // a build folder may be group-writable
  const plugin::Registry registry(options);
  return model::load_model(folder, registry);
}

// Some tokens are no words that a model would ever say: those of its golden prompts are.
LabelledRows rows_of(const fs::path& folder) {
  const auto file = model::SafetensorsFile::open(folder / "expected.safetensors");
  LabelledRows rows;
  for (const char* name : {"input_ids_0", "input_ids_1"}) {
    const model::SafetensorsTensor* tensor = file.find(name);
    if (tensor == nullptr) continue;
    const auto bytes = tensor->data();
    std::vector<int32_t> ids(std::min<size_t>(bytes.size() / sizeof(int32_t), 9));
    std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(int32_t));
    rows.labels.push_back(ids);
    rows.ids.push_back(std::move(ids));
  }
  return rows;
}

// Not trained anywhere: tables of frequencies, and what moves the choice of experts alone.
bool is_buffer(const std::string& name) {
  return name.starts_with("rope_f") || name.ends_with("e_score_correction_bias");
}

std::vector<std::string> weights_of(const graph::Graph& graph) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < graph.tensor_count(); ++i) {
    const llmh_tensor_info& info = graph.tensor(static_cast<llmh_tensor>(i));
    if (info.role == LLMH_TENSOR_WEIGHT) names.emplace_back(graph::to_view(info.name));
  }
  return names;
}

// The slope of the loss along a random direction in one tensor.
class Direction {
 public:
  Direction(std::string name, const std::vector<float>& start) : name_(std::move(name)), start_(start) {
    std::mt19937 random(3);
    std::normal_distribution<double> normal;
    double size = 0;
    for (const float value : start) size += static_cast<double>(value) * static_cast<double>(value);
    const double unit = std::sqrt(size / static_cast<double>(start.size())) + 1e-3;
    for (size_t i = 0; i < start.size(); ++i) direction_.push_back(normal(random) * unit);
  }

  double slope(const std::vector<float>& gradient) const {
    double sum = 0;
    for (size_t i = 0; i < gradient.size(); ++i) sum += direction_[i] * static_cast<double>(gradient[i]);
    return sum;
  }
  ParameterValues at(double distance) const {
    ParameterValues values{{name_, start_}};
    for (size_t i = 0; i < start_.size(); ++i)
      values.at(name_)[i] += static_cast<float>(distance * direction_[i]);
    return values;
  }

 private:
  std::string name_;
  const std::vector<float>& start_;
  std::vector<double> direction_;
};

struct Trained {
  explicit Trained(const fs::path& folder) : model(load(folder)), rows(rows_of(folder)) {
    weights = weights_of(model->graph());
    with_loss = graph::with_training_loss(
        graph::with_trained_weights(model->graph(), std::span<const std::string>(weights)));
    start = stored_values(*model, weights);
  }

  ModelGradients gradients(bool checkpoint) const {
    graph::DifferentiateOptions options;
    options.checkpoint_layers = checkpoint;
    return run_model(graph::differentiate(with_loss, options), *model, rows, start);
  }

  // Steps over a kink, or to another expert, are taken again shorter; the loss is good to some 1e-6.
  bool agrees(const std::string& name, const std::vector<float>& gradient) const {
    const Direction direction(name, start.at(name));
    const double slope = direction.slope(gradient);
    for (const double step : {3e-3, 1e-2, 1e-3, 3e-4, 1e-4}) {
      const double ahead = loss_of_model(with_loss, *model, rows, direction.at(step));
      const double behind = loss_of_model(with_loss, *model, rows, direction.at(-step));
      const double expected = (ahead - behind) / (2 * step);
      if (std::abs(slope - expected) < 0.03 * std::abs(expected) + 1e-6 / step) return true;
    }
    return false;
  }

  std::unique_ptr<model::LoadedModel> model;
  LabelledRows rows;
  std::vector<std::string> weights;
  graph::Graph with_loss;
  ParameterValues start;
};

void check_model(const fs::path& folder) {
  CAPTURE(folder.filename().string());
  const Trained trained(folder);
  const ModelGradients gradients = trained.gradients(false);
  CHECK(std::isfinite(gradients.loss));
  CHECK(trained.gradients(true).by_name == gradients.by_name);
  for (const std::string& name : trained.weights) {
    CAPTURE(name);
    if (!is_buffer(name)) CHECK(trained.agrees(name, gradients.by_name.at(name)));
  }
}

// Files of other formats hold models that are there as safetensors too.
TEST_CASE("every architecture can be trained") {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(data("goldens"))) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() || name.starts_with("gguf-")) continue;
    check_model(entry.path());
    ++count;
  }
  CHECK(count > 100);
}

}  // namespace
}  // namespace llmhost::test
