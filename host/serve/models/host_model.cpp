#include "serve/models/host_model.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "core/sha256.h"
#include "serve/models/model_text.h"
#include "text/grammar/grammar.h"

namespace llmhost::serve {
namespace {

void add(const engine::EngineStats& stats, engine::EngineStats& sum) {
  sum.steps += stats.steps;
  sum.prompt_tokens += stats.prompt_tokens;
  sum.output_tokens += stats.output_tokens;
  sum.preemptions += stats.preemptions;
  sum.proposed += stats.proposed;
  sum.accepted += stats.accepted;
  sum.prefix_hits += stats.prefix_hits;
  sum.prefix_misses += stats.prefix_misses;
  sum.prefix_evictions += stats.prefix_evictions;
}

}  // namespace

HostModel::HostModel(HostModelParts parts) : parts_(std::move(parts)) {}

HostModel::~HostModel() {
  stop();
}

void HostModel::stop() {
  if (parts_.adapters != nullptr) parts_.adapters->stop();  // those who wait for an adapter hold the model
  for (Replica& replica : parts_.replicas) replica.thread->stop();
}

ModelLoad HostModel::load() const {
  ModelLoad sum;
  sum.requests = n_requests_;
  for (const Replica& replica : parts_.replicas) {
    const EngineLoad load = replica.thread->load();
    sum.running += load.running;
    sum.waiting += load.waiting;
    add(load.stats, sum.stats);
  }
  if (parts_.adapters != nullptr) sum.adapter_bytes = parts_.adapters->used_bytes();
  return sum;
}

const text::Tokenizer& HostModel::tokenizer() const {
  return parts_.text->tokenizer();
}
std::string HostModel::render_chat(const OrderedJson& variables) const {
  return parts_.text->render_chat(variables);
}
std::vector<int32_t> HostModel::encode(std::string_view text, bool is_rendered) const {
  return parts_.text->encode(text, is_rendered);
}
const std::vector<int32_t>& HostModel::stop_tokens() const {
  return parts_.text->stop_tokens();
}
engine::SamplingParams HostModel::default_sampling() const {
  return parts_.text->default_sampling();
}

const text::ToolFormat* HostModel::tool_format() const {
  return parts_.text->tool_format();
}
const engine::PoolingOptions& HostModel::pooling() const {
  return parts_.pooling;
}
engine::AdapterStore* HostModel::adapters() {
  return parts_.adapters.get();
}

size_t grammar_mask_bytes(int64_t vocab_size) {
  constexpr size_t kMasks = 2048;
  constexpr size_t kMost = size_t{32} << 20;
  return std::min(kMost, kMasks * static_cast<size_t>(std::max<int64_t>(vocab_size, 0)) / 8);
}

uint64_t grammar_bytes(int64_t vocab_size) {
  constexpr uint64_t kTables = 2;     // tokens that begin a text, and those that go on
  constexpr uint64_t kOfToken = 128;  // its bytes and its place among the others'
  return kTables * (grammar_mask_bytes(vocab_size) +
                    kOfToken * static_cast<uint64_t>(std::max<int64_t>(vocab_size, 0)));
}

std::shared_ptr<const text::TokenVocabulary> HostModel::grammar_vocabulary() const {
  const std::scoped_lock lock(mutex_);
  if (vocabulary_ == nullptr)
    vocabulary_ = std::make_shared<const text::TokenVocabulary>(tokenizer(),
                                                                grammar_mask_bytes(parts_.card.vocab_size));
  return vocabulary_;
}

size_t HostModel::choose_replica() const {
  size_t best = 0;
  int32_t least = INT32_MAX;
  for (size_t i = 0; i < parts_.replicas.size(); ++i) {
    const EngineLoad load = parts_.replicas[i].thread->load();
    if (load.running + load.waiting >= least) continue;
    least = load.running + load.waiting;
    best = i;
  }
  return best;
}

// A hash of everything but the tokens that state depends on, or that separates who may profit by it.
engine::CacheScope HostModel::cache_scope(const engine::Request& request, uint64_t tenant,
                                          std::string_view salt) const {
  engine::CacheScope scope;
  scope.enabled = request.cache_scope.enabled;
  scope.tenant = tenant;
  Sha256 sum;
  sum.add(parts_.card.digest);
  sum.add(request.adapter != nullptr ? std::string_view(request.adapter->digest()) : std::string_view("-"));
  sum.add(std::as_bytes(std::span(&tenant, 1)));
  sum.add(salt);
  const Sha256Digest digest = sum.digest();
  std::memcpy(&scope.high, digest.data(), sizeof(scope.high));
  std::memcpy(&scope.low, digest.data() + sizeof(scope.high), sizeof(scope.low));
  return scope;
}

ServedModel::Ticket HostModel::submit(engine::Request request, uint64_t tenant, std::string_view salt) {
  request.cache_scope = cache_scope(request, tenant, salt);
  const size_t replica = choose_replica();
  ++n_requests_;
  return {static_cast<int32_t>(replica), parts_.replicas[replica].thread->submit(std::move(request))};
}

void HostModel::cancel(const Ticket& ticket) {
  if (ticket.replica >= 0 && static_cast<size_t>(ticket.replica) < parts_.replicas.size())
    parts_.replicas[static_cast<size_t>(ticket.replica)].thread->cancel(ticket.id);
}

}  // namespace llmhost::serve
