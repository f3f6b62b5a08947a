#include "serve/api/generation.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "core/log.h"
#include "serve/api/constraints.h"
#include "serve/api/prompt_logprobs.h"
#include "serve/api/text_metrics.h"

namespace llmhost::serve {
namespace {

using Clock = std::chrono::steady_clock;

// Ended where the model would have gone on.
bool is_cut(const engine::Result& result) {
  return result.reason == engine::FinishReason::kLength || !result.stop_string.empty();
}

uint64_t seed_of_choice(uint64_t seed, size_t choice) {
  if (choice == 0) return seed;
  uint64_t z = seed + choice * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

// One request's choices, from submission to the answer. The engine's threads (one a replica) and the I/O
// thread call it.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(std::shared_ptr<Call> call, GenerationPlan plan)
      : call_(std::move(call)), plan_(std::move(plan)), facts_(plan_.facts) {}

  void start();

 private:
  struct Running {
    Choice choice;
    std::optional<text::ToolParser> parser;
    size_t shown = 0;  // bytes of the raw text that have been handed on
  };

  size_t n_candidates() const;
  void make_choices();
  engine::Request make_request(size_t i);
  text::ToolParserOptions parser_options(size_t i) const;
  void submit(size_t i);
  void cancel();

  bool on_token(size_t i, const engine::TokenEvent& event);
  void on_finish(size_t i, engine::Result&& result);
  void charge(size_t i, const engine::Usage& used);
  void take_text(Running& running, std::string_view text, const TokenRecord* token);
  void write_out();
  void begin_stream();
  void finish_choice(Running& running, engine::Result&& result);
  void settle(Choice& choice, const text::ParsedReply& reply) const;
  void complete();
  void fail(const ApiError& error);
  std::vector<const Choice*> chosen();
  AnswerUsage usage() const;

  std::shared_ptr<Call> call_;
  GenerationPlan plan_;
  AnswerFacts& facts_;
  std::vector<Running> running_;

  std::mutex mutex_;  // of everything below
  std::string out_;
  size_t n_done_ = 0;
  bool has_begun_ = false;
  bool is_over_ = false;
  std::optional<Clock::time_point> first_token_;

  std::mutex tickets_mutex_;
  std::vector<ServedModel::Ticket> tickets_;
  bool is_cancelled_ = false;
};

size_t Generation::n_candidates() const {
  return static_cast<size_t>(std::max(facts_.options.n, facts_.options.best_of));
}

void Generation::make_choices() {
  const size_t each = n_candidates();
  running_.resize(facts_.prompts.size() * each);
  for (size_t i = 0; i < running_.size(); ++i) {
    Choice& choice = running_[i].choice;
    choice.index = static_cast<int32_t>(i);
    choice.prompt = i / each;
    if (plan_.format) running_[i].parser.emplace(*plan_.format, parser_options(i));
    if (!facts_.options.prompt_logprobs) continue;
    for (const int32_t token : facts_.prompts[choice.prompt].tokens)
      choice.prompt_tokens.push_back({.token = token, .top = {}});
  }
}

text::ToolParserOptions Generation::parser_options(size_t i) const {
  constexpr size_t kTail = 512;
  text::ToolParserOptions options = plan_.parser;
  options.id_seed = facts_.id + '/' + std::to_string(i);
  if (!options.prompt_tail.empty()) return options;
  const std::string& prompt = facts_.prompts[running_[i].choice.prompt].text;
  options.prompt_tail = prompt.substr(prompt.size() - std::min(prompt.size(), kTail));
  return options;
}

engine::Request Generation::make_request(size_t i) {
  const TextOptions& options = facts_.options;
  const std::shared_ptr<ServedModel>& model = facts_.use.model;
  engine::Request request;
  request.prompt = facts_.prompts[running_[i].choice.prompt].tokens;
  request.sampling = options.sampling;
  if (options.sampling.seed) request.sampling.seed = seed_of_choice(*options.sampling.seed, i);
  if (options.best_of > options.n) request.sampling.logprobs = true;
  request.max_tokens = options.max_tokens;
  if (!options.ignore_eos) request.stop_tokens = model->stop_tokens();
  for (const int32_t token : options.stop_token_ids) request.stop_tokens.push_back(token);
  request.stop_strings = options.stop;
  request.decoder = make_decoder(model->tokenizer(), plan_.format ? &*plan_.format : nullptr);
  request.constraint = make_constraint(*model, plan_.grammar, options.min_tokens, request.stop_tokens);
  request.adapter = facts_.use.adapter;
  request.cache_scope.enabled = options.cache_prompt;
  const auto self = shared_from_this();
  request.on_token = [self, i](const engine::TokenEvent& event) { return self->on_token(i, event); };
  request.on_finish = [self, i](engine::Result&& result) { self->on_finish(i, std::move(result)); };
  if (options.prompt_logprobs)
    request.on_prompt_logits = [self, i](const engine::PromptLogits& logits) {
      add_prompt_logprobs(logits, self->facts_.options.sampling.top_logprobs,
                          self->running_[i].choice.prompt_tokens);
    };
  return request;
}

void Generation::submit(size_t i) {
  const HttpRequest& asked = call_->request();
  const auto ticket =
      facts_.use.model->submit(make_request(i), asked.caller.tenant, facts_.options.cache_salt);
  bool cancelled = false;
  {
    const std::lock_guard lock(tickets_mutex_);
    tickets_.push_back(ticket);
    cancelled = is_cancelled_;
  }
  if (cancelled) facts_.use.model->cancel(ticket);
}

void Generation::start() {
  make_choices();
  call_->when_client_leaves([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->cancel();
  });
  try {
    for (size_t i = 0; i < running_.size(); ++i) submit(i);
  } catch (...) {
    const ApiError error = to_api_error(std::current_exception(), call_->request().id);
    const std::lock_guard lock(mutex_);
    fail(error);
    return;
  }
  if (!facts_.options.stream) return;
  const std::lock_guard lock(mutex_);
  if (!is_over_) begin_stream();
}

void Generation::cancel() {
  std::vector<ServedModel::Ticket> tickets;
  {
    const std::lock_guard lock(tickets_mutex_);
    is_cancelled_ = true;
    tickets = tickets_;
  }
  for (const auto& ticket : tickets) facts_.use.model->cancel(ticket);
}

void Generation::begin_stream() {
  if (has_begun_) return;
  has_begun_ = true;
  call_->exchange().start_stream(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
  plan_.writer->begin(facts_, out_);
  write_out();
}

void Generation::write_out() {
  if (out_.empty()) return;
  const bool is_open = call_->exchange().write(out_);
  out_.clear();
  if (!is_open) cancel();
}

void Generation::take_text(Running& running, std::string_view text, const TokenRecord* token) {
  running.shown += text.size();
  if (!facts_.options.stream) return;
  begin_stream();
  if (!running.parser) {
    if (!text.empty() || token != nullptr)
      plan_.writer->piece(running.choice, {.content = text, .deltas = {}, .token = token}, out_);
    return;
  }
  std::vector<text::ToolDelta> deltas = running.parser->push(text);
  if (plan_.single_call) std::erase_if(deltas, [](const auto& delta) { return delta.index > 0; });
  if (!deltas.empty() || token != nullptr)
    plan_.writer->piece(running.choice, {.content = {}, .deltas = deltas, .token = token}, out_);
}

bool Generation::on_token(size_t i, const engine::TokenEvent& event) {
  const std::lock_guard lock(mutex_);
  if (!first_token_) first_token_ = Clock::now();
  if (is_over_) return false;
  Running& running = running_[i];
  const TokenRecord* record = nullptr;
  if (event.choice != nullptr && event.choice->has_logprob) {
    const engine::Choice& made = *event.choice;
    running.choice.sum_logprobs += made.logprob;
    if (facts_.options.sampling.logprobs) {
      running.choice.tokens.push_back(
          {made.token, true, made.logprob, {made.top.begin(), made.top.begin() + made.n_top}});
      record = &running.choice.tokens.back();
    }
  }
  take_text(running, event.text, record);
  write_out();
  return true;
}

void Generation::settle(Choice& choice, const text::ParsedReply& reply) const {
  choice.text = reply.content;
  choice.reasoning = reply.reasoning;
  choice.calls = reply.calls;
  if (plan_.single_call && choice.calls.size() > 1) choice.calls.resize(1);
}

void Generation::finish_choice(Running& running, engine::Result&& result) {
  Choice& choice = running.choice;
  choice.is_done = true;
  choice.seed = result.seed;
  choice.result = std::move(result);
  const std::string& text = choice.result.text;
  if (running.shown < text.size()) take_text(running, std::string_view(text).substr(running.shown), nullptr);
  if (running.parser) {
    const auto end = is_cut(choice.result) ? text::ReplyEnd::kCut : text::ReplyEnd::kWhole;
    const auto index = static_cast<size_t>(choice.index);
    settle(choice, text::parse_reply(*plan_.format, parser_options(index), text, end));
    std::vector<text::ToolDelta> rest;
    if (facts_.options.stream) rest = running.parser->finish(end);
    if (plan_.single_call) std::erase_if(rest, [](const auto& delta) { return delta.index > 0; });
    if (!rest.empty()) plan_.writer->piece(choice, {.content = {}, .deltas = rest, .token = nullptr}, out_);
  } else {
    choice.text = text;
  }
  if (!facts_.options.stream) return;
  begin_stream();
  plan_.writer->choice_end(choice, out_);
}

// Whoever ended it: what was computed is paid for. A prompt of several answers is paid for once.
void Generation::charge(size_t i, const engine::Usage& used) {
  AnswerUsage share;
  share.output_tokens = used.output_tokens;
  if (i % n_candidates() == 0) {
    share.prompt_tokens = used.prompt_tokens;
    share.cached_tokens = used.reused_tokens;
  }
  call_->exchange().charge_tokens(share.prompt_tokens + share.output_tokens);
  call_->context().counts->tokens_used(facts_.use, share);
}

void Generation::on_finish(size_t i, engine::Result&& result) {
  charge(i, result.usage);
  const std::lock_guard lock(mutex_);
  if (is_over_) return;
  if (result.reason == engine::FinishReason::kError) {
    spdlog::error("{}: {}", call_->request().id, result.error);
    ApiError error(500, "server_error", "the model failed; the log has the reason under this request's id");
    error.code = "internal_error";
    return fail(error);
  }
  if (result.reason == engine::FinishReason::kCancelled) {
    ApiError error(503, "server_error", "the server ended the request before it was done");
    error.code = "cancelled";
    return fail(error);
  }
  finish_choice(running_[i], std::move(result));
  if (++n_done_ == running_.size()) return complete();
  write_out();
}

// Of each prompt's candidates the n with the highest mean logprob, in that order.
std::vector<const Choice*> Generation::chosen() {
  const size_t each = n_candidates();
  const auto n = static_cast<size_t>(facts_.options.n);
  const auto mean = [](const Choice& choice) {
    return choice.sum_logprobs / static_cast<double>(std::max<size_t>(1, choice.result.tokens.size()));
  };
  std::vector<const Choice*> kept;
  for (size_t first = 0; first < running_.size(); first += each) {
    std::vector<Choice*> candidates;
    for (size_t i = 0; i < each; ++i) candidates.push_back(&running_[first + i].choice);
    if (each > n)
      std::stable_sort(candidates.begin(), candidates.end(),
                       [&](const Choice* a, const Choice* b) { return mean(*a) > mean(*b); });
    for (size_t i = 0; i < n; ++i) {
      candidates[i]->index = static_cast<int32_t>(kept.size());
      kept.push_back(candidates[i]);
    }
  }
  return kept;
}

AnswerUsage Generation::usage() const {
  AnswerUsage usage;
  for (const Running& running : running_) usage.output_tokens += running.choice.result.usage.output_tokens;
  const size_t each = n_candidates();
  for (size_t i = 0; i < facts_.prompts.size(); ++i) {
    usage.prompt_tokens += static_cast<int64_t>(facts_.prompts[i].tokens.size());
    usage.cached_tokens += running_[i * each].choice.result.usage.reused_tokens;
  }
  return usage;
}

void Generation::complete() {
  is_over_ = true;
  const AnswerUsage used = usage();
  const std::vector<const Choice*> choices = chosen();
  Exchange& exchange = call_->exchange();
  if (facts_.options.stream) {
    plan_.writer->end(facts_, choices, used, out_);
    write_out();
    exchange.finish();
  } else {
    Response response;
    response.body = plan_.writer->whole(facts_, choices, used);
    exchange.send(std::move(response));
  }
  const auto now = Clock::now();
  call_->context().counts->request_done(facts_.use, used, call_->start(), first_token_.value_or(now), now);
}

void Generation::fail(const ApiError& error) {
  if (is_over_) return;
  is_over_ = true;
  cancel();
  const std::string& id = call_->request().id;
  if (!has_begun_) return call_->exchange().send(error_response(error, call_->style(), id));
  plan_.writer->error(error, id, out_);
  write_out();
  call_->exchange().finish();
}

void check_context(const AnswerFacts& facts) {
  const int64_t context = facts.use.model->card().context_length;
  for (const PromptInput& prompt : facts.prompts) {
    const auto n = static_cast<int64_t>(prompt.tokens.size());
    if (n == 0) throw bad_field(facts.prompt_field, "has no tokens; there must be at least one");
    const int64_t wanted = std::max<int64_t>(facts.options.max_tokens, 0);
    const bool needs_room = facts.options.max_tokens != 0;
    if (n > context || (needs_room && n == context))
      throw context_overflow(n, 0, context, facts.prompt_field);
    if (n + wanted > context) throw context_overflow(n, wanted, context, facts.prompt_field);
  }
}

}  // namespace

void start_generation(const std::shared_ptr<Call>& call, GenerationPlan plan) {
  constexpr size_t kMostChoices = 256;
  const TextOptions& options = plan.facts.options;
  if (options.best_of != 0 && options.best_of < options.n) throw bad_field("best_of", "must be at least n");
  if (options.best_of > options.n && options.stream)
    throw bad_field("best_of", "needs the whole answer: no stream");
  const auto each = static_cast<size_t>(std::max(options.n, options.best_of));
  if (plan.facts.prompts.size() * each > kMostChoices)
    throw bad_field("n", fmt::format("{} prompts with {} answers each are more than {}",
                                     plan.facts.prompts.size(), each, kMostChoices));
  check_context(plan.facts);
  if (options.sampling.logprobs || options.prompt_logprobs)
    plan.facts.names = std::make_shared<const TokenNames>(*plan.facts.use.model);
  std::make_shared<Generation>(call, std::move(plan))->start();
}

}  // namespace llmhost::serve
