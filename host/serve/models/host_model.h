// A model of this process: its text and its adapters once, and for each replica the weights on the device and
// an engine on a thread. All replicas use one opened device, so that an adapter fits each of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "engine/adapter_store.h"
#include "engine/model_stack.h"
#include "engine/pooling.h"
#include "model/loader.h"
#include "plugin/registry.h"
#include "serve/models/configuration.h"
#include "serve/models/engine_thread.h"
#include "serve/models/served_model.h"
#include "serve/tuning/training_base.h"

namespace llmhost::serve {

class ModelText;

// What structured output keeps for a model: masks of each of its tables of tokens, and all of it at most.
size_t grammar_mask_bytes(int64_t vocab_size);
uint64_t grammar_bytes(int64_t vocab_size);

// One copy of the weights and who runs it.
struct Replica {
  std::unique_ptr<engine::ModelStack> stack;
  std::unique_ptr<EngineThread> thread;
};

// What a HostModel is made of, in the order in which each stands on those before.
struct HostModelParts {
  std::shared_ptr<const plugin::Registry> registry;
  std::unique_ptr<model::LoadedModel> loaded;
  std::shared_ptr<const ModelText> text;
  engine::PoolingOptions pooling;
  std::unique_ptr<engine::HostDevice> host;
  std::vector<Replica> replicas;
  std::unique_ptr<engine::AdapterHost> adapter_host;
  std::unique_ptr<engine::AdapterStore> adapters;  // null: the model takes none
  std::unique_ptr<const TrainingBase> training;    // null: not open to fine-tuning
  ModelCard card;
};

class HostModel final : public ServedModel {
 public:
  explicit HostModel(HostModelParts parts);
  ~HostModel() override;

  void stop();

  const ModelCard& card() const override { return parts_.card; }
  ModelLoad load() const override;
  const text::Tokenizer& tokenizer() const override;
  std::string render_chat(const OrderedJson& variables) const override;
  std::vector<int32_t> encode(std::string_view text, bool is_rendered) const override;
  const std::vector<int32_t>& stop_tokens() const override;
  engine::SamplingParams default_sampling() const override;
  const text::ToolFormat* tool_format() const override;
  std::shared_ptr<const text::TokenVocabulary> grammar_vocabulary() const override;
  const engine::PoolingOptions& pooling() const override;
  engine::AdapterStore* adapters() override;
  const TrainingBase* training_base() const override { return parts_.training.get(); }
  Ticket submit(engine::Request request, uint64_t tenant, std::string_view salt) override;
  void cancel(const Ticket& ticket) override;

 private:
  size_t choose_replica() const;
  engine::CacheScope cache_scope(const engine::Request& request, uint64_t tenant,
                                 std::string_view salt) const;

  HostModelParts parts_;
  std::atomic<int64_t> n_requests_{0};
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const text::TokenVocabulary> vocabulary_;  // made when it is asked for
};

}  // namespace llmhost::serve
