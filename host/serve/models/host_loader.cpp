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
constexpr uint64_t kAdapterMemory = uint64_t{256} << 20;  // of all adapters of a model
// Of the progress: the files are open, the text is read.
constexpr double kOpenedShare = 0.1;
constexpr double kTextShare = 0.2;

uint64_t held_bytes(const engine::MemoryPlan& plan, const llmh_model_info& info, int32_t replicas) {
  const auto n = static_cast<uint64_t>(replicas);
  return plan.weights_mapped + n * plan.allocated() + kTextBytes + grammar_bytes(info.vocab_size) +
         static_cast<uint64_t>(std::max<int64_t>(info.vocab_size, 0)) * kTokenBytes;
}

class PlannedHostModel final : public PlannedModel {
 public:
  PlannedHostModel(const ModelConfig& config, std::shared_ptr<const plugin::Registry> registry,
                   std::shared_ptr<DeviceTurn> turn, uint64_t room);

  uint64_t bytes() const override { return bytes_; }
  uint64_t adapter_bytes() const override { return adapter_memory(); }
  engine::MemoryPlan memory() const override { return plan_; }
  RunningModel load(const Progress& progress) override;

 private:
  void choose_limits(uint64_t room);
  void plan(const graph::Graph& lowered);
  bool takes_adapters() const { return !config_.adapters.roots.empty(); }
  uint64_t adapter_memory() const;
  ModelCard make_card() const;
  void open_adapters();

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
  parts_.host =
      std::make_unique<engine::HostDevice>(*parts_.registry, config.settings, engine::RunUse::kGeneration);
  parts_.pooling = engine::read_pooling(parts_.loaded->checkpoint().folder());
  choose_limits(room);
}

uint64_t PlannedHostModel::adapter_memory() const {
  if (!takes_adapters()) return 0;
  return config_.adapters.memory > 0 ? config_.adapters.memory : kAdapterMemory;
}

void PlannedHostModel::plan(const graph::Graph& lowered) {
  plan_ = engine::plan_memory(*parts_.loaded, lowered, parts_.host->device(), limits_);
  bytes_ = held_bytes(plan_, parts_.loaded->info(), config_.replicas) + adapter_memory();
}

// Without a setting, the state holds all sequences at their longest, or what a share of the room is for.
void PlannedHostModel::choose_limits(uint64_t room) {
  const Settings& settings = config_.settings;
  limits_ = engine::generation_limits(settings, parts_.loaded->info());
  if (settings.is_default("engine.sequences")) limits_.max_sequences = limits_.max_outputs = kServedSequences;
  limits_.max_tokens = std::max(limits_.max_tokens, limits_.max_sequences);
  limits_.state_tokens = settings.get_int("engine.state_tokens");
  if (limits_.state_tokens > 0) limits_.state_tokens = std::max(limits_.state_tokens, limits_.max_context);
  std::vector<graph::AdapterSite> sites;
  if (takes_adapters()) limits_.max_adapter_rank = config_.adapters.max_rank;
  const graph::Graph lowered =
      engine::lower_graph(*parts_.loaded, parts_.host->device(), takes_adapters() ? &sites : nullptr);
  plan(lowered);
  const uint64_t share = room / kStateShare / static_cast<uint64_t>(config_.replicas);
  if (limits_.state_tokens > 0 || plan_.state <= share) return;
  const int64_t all = limits_.max_context * limits_.max_sequences;
  const double fitting =
      static_cast<double>(all) * static_cast<double>(share) / static_cast<double>(plan_.state);
  limits_.state_tokens = std::max(static_cast<int64_t>(fitting), limits_.max_context);
  plan(lowered);
}

int64_t longest_piece(const text::Tokenizer& tokenizer) {
  size_t longest = 0;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    longest = std::max(longest, tokenizer.piece_of(id).size());
  return static_cast<int64_t>(longest);
}

ModelCard PlannedHostModel::make_card() const {
  const llmh_model_info& info = parts_.loaded->info();
  ModelCard card;
  card.id = config_.id;
  card.digest = content_digest(parts_.loaded->checkpoint(), parts_.text->template_text());
  card.context_length = limits_.max_context;
  card.vocab_size = info.vocab_size;
  card.longest_piece = longest_piece(parts_.text->tokenizer());
  card.created =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  card.n_replicas = config_.replicas;
  card.has_chat_template = parts_.text->has_template();
  card.takes_adapters = takes_adapters();
  card.arch = parts_.loaded->arch_id();
  if (const text::ToolFormat* format = parts_.text->tool_format()) card.tool_format = format->name;
  card.memory = plan_;
  return card;
}

void PlannedHostModel::open_adapters() {
  if (!takes_adapters()) return;
  engine::AdapterHostOptions of_one;
  of_one.max_bytes = adapter_memory();
  of_one.checks_receipts = config_.settings.get_string("model.receipt") != "ignore";
  parts_.adapter_host =
      std::make_unique<engine::AdapterHost>(*parts_.replicas.front().stack, *parts_.registry, of_one);
  engine::AdapterStoreOptions options;
  options.roots = config_.adapters.roots;
  options.memory = adapter_memory();
  options.max_loaded = static_cast<int32_t>(config_.adapters.max_loaded);
  options.requires_digest = config_.adapters.only_pinned;
  for (const auto& [name, digest] : config_.adapters.digests) options.allowed_digests[name] = {digest};
  parts_.adapters = std::make_unique<engine::AdapterStore>(*parts_.adapter_host, std::move(options));
}

RunningModel PlannedHostModel::load(const Progress& progress) {
  progress(kOpenedShare);
  parts_.text =
      std::make_shared<const ModelText>(parts_.loaded->checkpoint(), config_.settings, tokenizer_.get());
  parts_.card = make_card();
  progress(kTextShare);
  EngineThreadOptions options;
  options.engine.prefill_chunk = static_cast<int32_t>(config_.settings.get_int("engine.prefill_chunk"));
  options.engine.prefix_cache.pages = engine::PrefixCacheOptions::kAllPages;
  for (int32_t i = 0; i < config_.replicas; ++i) {
    Replica replica;
    replica.stack = std::make_unique<engine::ModelStack>(*parts_.loaded, parts_.host->device(), limits_);
    replica.thread = std::make_unique<EngineThread>(replica.stack->runner(), options, nullptr, turn_);
    parts_.replicas.push_back(std::move(replica));
    progress(kTextShare + (1 - kTextShare) * (i + 1) / config_.replicas);
  }
  open_adapters();
  if (!config_.adapters.tuned.empty())
    parts_.training = std::make_unique<const TrainingBase>(TrainingBase{
        parts_.registry, parts_.loaded.get(), config_.path, config_.settings, config_.adapters.tuned});
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
