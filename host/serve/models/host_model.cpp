#include "serve/models/host_model.h"

#include <utility>

#include "core/error.h"
#include "serve/models/model_text.h"

namespace llmhost::serve {

HostModel::HostModel(HostModelParts parts) : parts_(std::move(parts)) {}

HostModel::~HostModel() {
  stop();
}

void HostModel::stop() {
  for (Replica& replica : parts_.replicas) replica.thread->stop();
}

ModelLoad HostModel::load() const {
  ModelLoad sum;
  for (const Replica& replica : parts_.replicas) {
    const EngineLoad load = replica.thread->load();
    sum.running += load.running;
    sum.waiting += load.waiting;
    sum.stats.steps += load.stats.steps;
    sum.stats.prompt_tokens += load.stats.prompt_tokens;
    sum.stats.output_tokens += load.stats.output_tokens;
    sum.stats.preemptions += load.stats.preemptions;
    sum.stats.proposed += load.stats.proposed;
    sum.stats.accepted += load.stats.accepted;
  }
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
  return nullptr;
}

std::shared_ptr<const text::TokenVocabulary> HostModel::grammar_vocabulary() const {
  throw_error(ErrorCode::kUnimplemented, "grammars are not there yet");
}

const engine::PoolingOptions& HostModel::pooling() const {
  throw_error(ErrorCode::kUnimplemented, "embeddings are not there yet");
}

engine::AdapterStore* HostModel::adapters() {
  return nullptr;
}

size_t HostModel::choose_replica(const engine::Request&) const {
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

ServedModel::Ticket HostModel::submit(engine::Request request, uint64_t, std::string_view) {
  const size_t replica = choose_replica(request);
  return {static_cast<int32_t>(replica), parts_.replicas[replica].thread->submit(std::move(request))};
}

void HostModel::cancel(const Ticket& ticket) {
  if (ticket.replica >= 0 && static_cast<size_t>(ticket.replica) < parts_.replicas.size())
    parts_.replicas[static_cast<size_t>(ticket.replica)].thread->cancel(ticket.id);
}

}  // namespace llmhost::serve
