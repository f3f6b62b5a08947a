// A tiny model of tests/data/finetune opened with adapters, and a way to run rows through it.
#pragma once

#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/adapter.h"
#include "engine/engine.h"
#include "engine/story_model.h"
#include "model/safetensors.h"

namespace llmhost::test {

template <typename T>
std::vector<T> tensor_values(const model::SafetensorsFile& file, const std::string& name) {
  const model::SafetensorsTensor* tensor = file.find(name);
  if (tensor == nullptr) throw std::runtime_error(file.name() + ": no tensor " + name);
  std::vector<T> values(tensor->size_bytes / sizeof(T));
  std::memcpy(values.data(), tensor->data().data(), tensor->size_bytes);
  return values;
}

// Rows of a padded batch without the padding.
inline std::vector<std::vector<int32_t>> unpadded(const std::vector<int64_t>& ids,
                                                  const std::vector<int64_t>& mask, size_t n_rows) {
  std::vector<std::vector<int32_t>> rows(n_rows);
  const size_t length = ids.size() / n_rows;
  for (size_t i = 0; i < ids.size(); ++i)
    if (mask.empty() || mask[i] != 0) rows[i / length].push_back(static_cast<int32_t>(ids[i]));
  return rows;
}

struct Row {
  std::vector<int32_t> ids;
  std::shared_ptr<const engine::Adapter> adapter;
};
struct RowOutput {
  std::vector<float> logits;  // [T,V]
  std::vector<int32_t> tokens;
  std::string error;
};

class AdapterModel {
 public:
  // A folder of tests/data.
  explicit AdapterModel(const std::string& model, const std::string& backend = "cpu", int32_t max_rank = 64) {
    Settings settings(engine::settings_schema());
    settings.set("engine.threads", "2");
    settings.set("backend.name", backend);
    model_ = model::load_model(test::data(model), built_plugins());
    host_ = std::make_unique<engine::HostDevice>(built_plugins(), settings, engine::RunUse::kLogits);
    engine::RunnerOptions options;
    options.max_tokens = 256;
    options.max_sequences = 16;
    options.max_outputs = 256;
    options.max_context = 64;
    options.page_tokens = 8;
    options.max_adapter_rank = max_rank;
    stack_ = std::make_unique<engine::ModelStack>(*model_, host_->device(), options);
    adapters_ = std::make_unique<engine::AdapterHost>(*stack_, built_plugins());
  }

  engine::AdapterHost& adapters() { return *adapters_; }
  engine::ModelStack& stack() { return *stack_; }
  std::shared_ptr<const engine::Adapter> load(const std::string& folder) {
    return adapters_->load(test::data(folder));
  }

  // All rows in one batch, greedily for `generate` tokens.
  std::vector<RowOutput> run(const std::vector<Row>& rows, int64_t generate = 0, int32_t chunk = 0) {
    engine::EngineOptions options;
    options.prefill_chunk = chunk;
    engine::Engine engine(stack_->runner(), options);
    std::vector<RowOutput> outputs(rows.size());
    std::vector<engine::RequestId> ids;
    for (size_t i = 0; i < rows.size(); ++i) {
      engine::Request request;
      request.prompt = rows[i].ids;
      request.adapter = rows[i].adapter;
      request.max_tokens = generate;
      request.sampling.temperature = 0;
      request.on_prompt_logits = [&outputs, i](const engine::PromptLogits& logits) {
        outputs[i].logits.insert(outputs[i].logits.end(), logits.rows.begin(), logits.rows.end());
      };
      ids.push_back(engine.submit(std::move(request)));
    }
    engine.run_all();
    for (size_t i = 0; i < ids.size(); ++i) {
      auto result = engine.take_result(ids[i]);
      outputs[i].tokens = std::move(result->tokens);
      outputs[i].error = std::move(result->error);
    }
    return outputs;
  }

 private:
  std::unique_ptr<model::LoadedModel> model_;
  std::unique_ptr<engine::HostDevice> host_;
  std::unique_ptr<engine::ModelStack> stack_;
  std::unique_ptr<engine::AdapterHost> adapters_;
};

// The largest distance between the row's logits and the expected ones of the row's positions.
inline float distance(const RowOutput& output, const float* expected) {
  float largest = 0;
  for (size_t i = 0; i < output.logits.size(); ++i) {
    const float here = std::abs(output.logits[i] - expected[i]);
    if (!(here <= largest)) largest = here;
  }
  return largest;
}

}  // namespace llmhost::test
