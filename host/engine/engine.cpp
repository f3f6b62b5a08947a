#include "engine/engine.h"

#include <algorithm>

#include "core/error.h"
#include "core/log.h"
#include "engine/adapter.h"

namespace llmhost::engine {
namespace {

SchedulerLimits scheduler_limits(const RunnerOptions& runner, const EngineOptions& options) {
  SchedulerLimits limits;
  limits.token_budget = runner.max_tokens;
  limits.max_sequences = runner.max_sequences;
  limits.max_outputs = runner.max_outputs;
  limits.page_tokens = runner.page_tokens;
  limits.prefill_chunk = options.prefill_chunk;
  limits.starvation_bound = options.starvation_bound;
  limits.validate();
  return limits;
}

// Of a request without one: nobody can tell it beforehand.
uint64_t fresh_seed(const Hash128& key, RequestId id) {
  return siphash128(key, std::as_bytes(std::span(&id, 1))).low;
}

// What is computed with an adapter is another state, whatever the scope of the request says.
CacheScope scope_with(const CacheScope& scope, std::string_view adapter_digest) {
  const Hash128 hash = siphash128({scope.high, scope.low}, std::as_bytes(std::span(adapter_digest)));
  return {hash.high, hash.low, scope.tenant, scope.enabled};
}

void check_tokens(const char* what, std::span<const int32_t> tokens, int64_t vocab_size) {
  for (const int32_t token : tokens)
    if (token < 0 || token >= vocab_size)
      throw_invalid("{}: token {} is outside the vocabulary of {}", what, token, vocab_size);
}

}  // namespace

Engine::Engine(ModelRunner& runner, const EngineOptions& options, std::unique_ptr<Proposer> proposer)
    : runner_(runner),
      options_(options),
      limits_(scheduler_limits(runner.options(), options)),
      pages_(runner.options().n_pages()),
      prefixes_(pages_, runner.options().page_tokens, options.prefix_cache),
      batch_(runner.options().limits(), runner.options().max_pages()),
      sampler_(runner.vocab_size()),
      proposer_(std::move(proposer)),
      step_tokens_(limits_.token_budget) {
  const auto sequences = static_cast<size_t>(limits_.max_sequences);
  participants_.reserve(sequences);
  retired_.reserve(sequences);
  to_propose_.reserve(sequences);
  scheduler_.running.reserve(sequences);
  plan_.running.reserve(sequences);
  plan_.admitted.reserve(sequences);
  plan_.preempted.reserve(sequences);
  if (prefixes_.is_on()) page_marks_.assign(static_cast<size_t>(pages_.n_pages()), 0);
}

Engine::~Engine() = default;

int64_t Engine::checked_max_tokens(const Request& request) const {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t context = max_context();
  if (prompt == 0) throw_invalid("prompt: it is empty; give at least one token");
  if (request.max_tokens < Request::kToEndOfContext)
    throw_invalid("max_tokens: got {}, expected 0 or more, or -1 for the rest of the context",
                  request.max_tokens);
  if (prompt > context)
    throw_invalid("the prompt has {} tokens, the context holds {}; shorten it or raise the context length",
                  prompt, context);
  if (request.max_tokens == Request::kToEndOfContext) return context - prompt;
  if (request.max_tokens > context - prompt)
    throw_invalid(
        "the prompt of {} tokens and max_tokens {} need {} positions, the context holds {}; shorten one of "
        "them or "
        "raise the context length",
        prompt, request.max_tokens, prompt + request.max_tokens, context);
  return request.max_tokens;
}

void Engine::check(const Request& request) const {
  checked_max_tokens(request);
  request.sampling.validate(runner_.vocab_size());
  check_tokens("prompt", request.prompt, runner_.vocab_size());
  if (request.on_prompt_hidden && runner_.hidden_size() == 0)
    throw_invalid("the model gives no hidden states");
  if (!request.stop_strings.empty() && request.decoder == nullptr)
    throw_invalid("stop: stop strings need a decoder that turns tokens into text");
}

RequestId Engine::submit(Request request) {
  check(request);
  const int64_t max_tokens = checked_max_tokens(request);
  if (request.adapter != nullptr && !request.adapter->fits(runner_))
    throw_invalid("adapter '{}' was made for another model", request.adapter->name());
  if (n_waiting() >= options_.max_waiting)
    throw_error(ErrorCode::kResourceExhausted, "{} requests are waiting already; try again later",
                n_waiting());
  if (request.adapter != nullptr)
    request.cache_scope = scope_with(request.cache_scope, request.adapter->digest());
  const uint64_t seed = request.sampling.seed ? *request.sampling.seed : fresh_seed(seed_key_, last_id_ + 1);
  const RequestId id = ++last_id_;
  auto sequence = std::make_unique<Sequence>(id, std::move(request), max_tokens, seed);
  // What is computed for prompts so long depends on their length.
  const bool by_length = sequence->prompt_length > runner_.length_dependent_from();
  prefixes_.start(sequence->prefix, sequence->request.cache_scope, by_length ? sequence->prompt_length : 0);
  ScheduledSequence scheduled;
  scheduled.id = scheduled.arrival = id;
  scheduled.priority = sequence->request.priority;
  scheduled.target = static_cast<int32_t>(sequence->prompt_length);
  scheduled.all_outputs = sequence->wants_prompt_rows();
  sequences_.emplace(id, std::move(sequence));
  add_waiting(scheduler_, scheduled);
  return id;
}

bool Engine::cancel(RequestId id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end() || found->second->finished) return false;
  found->second->finish(FinishReason::kCancelled);
  if (in_step_)
    cancelled_.push_back(id);
  else
    finish(*found->second);
  return true;
}

void Engine::run_until(RequestId id) {
  while (sequences_.contains(id) && run_step()) {
  }
}

void Engine::run_all() {
  while (run_step()) {
  }
}

std::optional<Result> Engine::take_result(RequestId id) {
  const auto found = results_.find(id);
  if (found == results_.end()) return std::nullopt;
  std::optional<Result> result = std::move(found->second);
  results_.erase(found);
  return result;
}

void Engine::release_state(RequestId id) {
  if (proposer_ != nullptr) proposer_->release_state(id);
  kept_.release(id, pages_);
}

// Takes a finished sequence out of everything and hands over its result.
void Engine::finish(Sequence& finished) {
  const auto node = sequences_.extract(finished.id);
  Sequence& sequence = *node.mapped();
  remove_sequence(scheduler_, sequence.id);
  if (proposer_ != nullptr) proposer_->finished(sequence);
  const auto computed = static_cast<size_t>(sequence.computed);
  Result result = sequence.result();
  if (sequence.request.keep_state && sequence.reason != FinishReason::kError && computed > 0) {
    sequence.tokens.resize(computed);
    kept_.keep(sequence.id, sequence.request.cache_scope, std::move(sequence.tokens), sequence.prompt_length,
               std::move(sequence.pages), pages_);
  } else {
    sequence.pages.shrink_to(0, pages_);
  }
  stats_.output_tokens += result.usage.output_tokens;
  if (!sequence.request.on_finish) {
    results_.emplace(sequence.id, std::move(result));
    return;
  }
  try {
    sequence.request.on_finish(std::move(result));
  } catch (const std::exception& error) {
    spdlog::error("request {}: its on_finish threw: {}", sequence.id, error.what());
  }
}

}  // namespace llmhost::engine
