#include "serve/models/host_loader.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/log.h"
#include "engine/memory_plan.h"
#include "engine/model_settings.h"
#include "engine/model_stack.h"
#include "model/loader.h"
#include "serve/models/content_digest.h"
#include "serve/models/host_model.h"
#include "serve/models/model_text.h"
#include "text/tokenizer.h"

namespace llmhost::serve {
namespace {

// What a model holds beside the plan: tokenizer, names, graph.
constexpr uint64_t kTextBytes = uint64_t{4} << 20;
constexpr uint64_t kTokenBytes = 512;
// Of the room, for the state of all sequences together, when the settings say nothing.
constexpr uint64_t kStateShare = 4;

uint64_t held_bytes(const engine::MemoryPlan& plan, const llmh_model_info& info, int32_t replicas) {
  const auto n = static_cast<uint64_t>(replicas);
  return plan.weights_mapped + n * plan.allocated() + kTextBytes +
         static_cast<uint64_t>(std::max<int64_t>(info.vocab_size, 0)) * kTokenBytes;
}

class PlannedHostModel final : public PlannedModel {
 public:
  PlannedHostModel(const ModelConfig& config, std::shared_ptr<const plugin::Registry> registry,
                   std::shared_ptr<DeviceTurn> turn, uint64_t room);

  uint64_t bytes() const override { return bytes_; }
  RunningModel load(const Progress& progress) override;

 private:
  void choose_limits(uint64_t room);
  void plan(const graph::Graph& lowered);
  ModelCard make_card() const;

  ModelConfig config_;
  HostModelParts parts_;
  std::shared_ptr<DeviceTurn> turn_;
  std::future<std::shared_ptr<const text::Tokenizer>> tokenizer_;
  engine::RunnerOptions limits_;
  engine::MemoryPlan plan_;
  uint64_t bytes_ = 0;
};

PlannedHostModel::PlannedHostModel(const ModelConfig& config,
                                   std::shared_ptr<const plugin::Registry> registry,
                                   std::shared_ptr<DeviceTurn> turn, uint64_t room)
    : config_(config), turn_(std::move(turn)) {
  parts_.registry = std::move(registry);
  // Reading a vocabulary takes as long as reading the model: both at once.
  tokenizer_ = std::async(std::launch::async, [path = engine::tokenizer_path(config.path)] {
    return text::load_tokenizer(path);
  });
  parts_.loaded = model::load_model(config.path, *parts_.registry, engine::load_options(config.settings));
  Replica first;
  first.host =
      std::make_unique<engine::HostDevice>(*parts_.registry, config.settings, engine::RunUse::kGeneration);
  parts_.replicas.push_back(std::move(first));
  choose_limits(room);
}

void PlannedHostModel::plan(const graph::Graph& lowered) {
  plan_ = engine::plan_memory(*parts_.loaded, lowered, parts_.replicas.front().host->device(), limits_);
  bytes_ = held_bytes(plan_, parts_.loaded->info(), config_.replicas);
}

// Without a setting, the state holds all sequences at their longest, or what a share of the room is for.
void PlannedHostModel::choose_limits(uint64_t room) {
  const Settings& settings = config_.settings;
  limits_ = engine::generation_limits(settings, parts_.loaded->info());
  if (settings.is_default("engine.sequences")) limits_.max_sequences = limits_.max_outputs = kServedSequences;
  limits_.max_tokens = std::max(limits_.max_tokens, limits_.max_sequences);
  limits_.state_tokens = settings.get_int("engine.state_tokens");
  if (limits_.state_tokens > 0) limits_.state_tokens = std::max(limits_.state_tokens, limits_.max_context);
  const graph::Graph lowered = engine::lower_graph(*parts_.loaded, parts_.replicas.front().host->device());
  plan(lowered);
  const uint64_t share = room / kStateShare / static_cast<uint64_t>(config_.replicas);
  if (limits_.state_tokens > 0 || plan_.state <= share) return;
  const int64_t all = limits_.max_context * limits_.max_sequences;
  const double fitting =
      static_cast<double>(all) * static_cast<double>(share) / static_cast<double>(plan_.state);
  limits_.state_tokens = std::max(static_cast<int64_t>(fitting), limits_.max_context);
  plan(lowered);
}

ModelCard PlannedHostModel::make_card() const {
  const llmh_model_info& info = parts_.loaded->info();
  ModelCard card;
  card.id = config_.id;
  card.digest = content_digest(parts_.loaded->checkpoint(), parts_.text->template_text());
  card.context_length = limits_.max_context;
  card.vocab_size = info.vocab_size;
  card.created =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  card.n_replicas = config_.replicas;
  card.has_chat_template = parts_.text->has_template();
  card.arch = parts_.loaded->arch_id();
  card.memory = plan_;
  return card;
}

RunningModel PlannedHostModel::load(const Progress& progress) {
  progress(0.1);
  parts_.text =
      std::make_shared<const ModelText>(parts_.loaded->checkpoint(), config_.settings, tokenizer_.get());
  parts_.card = make_card();
  progress(0.2);
  EngineThreadOptions options;
  options.engine.prefill_chunk = static_cast<int32_t>(config_.settings.get_int("engine.prefill_chunk"));
  for (int32_t i = 0; i < config_.replicas; ++i) {
    if (i > 0) {
      Replica further;
      further.host = std::make_unique<engine::HostDevice>(*parts_.registry, config_.settings,
                                                          engine::RunUse::kGeneration);
      parts_.replicas.push_back(std::move(further));
    }
    Replica& replica = parts_.replicas.back();
    replica.stack = std::make_unique<engine::ModelStack>(*parts_.loaded, replica.host->device(), limits_);
    replica.thread = std::make_unique<EngineThread>(replica.stack->runner(), options, nullptr, turn_);
    progress(0.2 + 0.8 * (i + 1) / config_.replicas);
  }
  for (const std::string& warning : parts_.loaded->warnings()) spdlog::warn("{}: {}", config_.id, warning);
  const auto model = std::make_shared<HostModel>(std::move(parts_));
  return {model, [model] { model->stop(); }};
}

}  // namespace

HostLoader::HostLoader(const Settings& settings)
    : settings_(settings), registry_(engine::open_registry(settings)) {}

std::shared_ptr<DeviceTurn> HostLoader::turn_of(const Settings& settings) {
  const std::string device =
      settings.get_string("backend.name") + ":" + std::to_string(settings.get_int("backend.device"));
  std::shared_ptr<DeviceTurn>& turn = turns_[device];
  if (turn == nullptr) turn = std::make_shared<DeviceTurn>();
  return turn;
}

std::unique_ptr<PlannedModel> HostLoader::plan(const ModelConfig& config, uint64_t room) {
  return std::make_unique<PlannedHostModel>(config, registry_, turn_of(config.settings), room);
}

uint64_t HostLoader::free_memory() {
  const engine::HostDevice host(*registry_, settings_, engine::RunUse::kGeneration);
  const uint64_t free = host.device().memory_free();
  return free > 0 ? free : UINT64_MAX;
}

}  // namespace llmhost::serve
