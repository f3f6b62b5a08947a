#include "engine/sequence.h"

#include <algorithm>

namespace llmhost::engine {

std::string_view to_text(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  return "unknown";
}

Sequence::Sequence(RequestId request_id, Request&& from, int64_t max_output, uint64_t random_seed)
    : id(request_id),
      request(std::move(from)),
      prompt_length(static_cast<int64_t>(request.prompt.size())),
      max_tokens(max_output),
      seed(random_seed),
      tokens(std::move(request.prompt)),
      stops(request.stop_strings) {
  usage.prompt_tokens = prompt_length;
}

void Sequence::start(int32_t page_tokens) {
  const auto most_output = static_cast<size_t>(max_tokens);
  const int32_t n_pages = pages_for(prompt_length + max_tokens, page_tokens);
  sampler.start(request.sampling, seed, tokens, most_output);
  tokens.reserve(tokens.size() + most_output);
  pages.reserve(n_pages);
  prefix.reserve(n_pages);
  started = true;
  constexpr int64_t kBytesOfToken = 4;
  constexpr int64_t kMostText = 1 << 16;
  if (request.decoder != nullptr)
    text_.reserve(static_cast<size_t>(std::min(max_tokens * kBytesOfToken, kMostText)));
}

bool Sequence::is_stop_token(int32_t token) const {
  return std::find(request.stop_tokens.begin(), request.stop_tokens.end(), token) !=
         request.stop_tokens.end();
}

int64_t Sequence::reusable_tokens() const {
  const int64_t all_but_last = static_cast<int64_t>(tokens.size()) - 1;
  return wants_prompt_rows() ? std::min(all_but_last, delivered) : all_but_last;
}

bool Sequence::wants_prompt_rows() const {
  return request.on_prompt_logits || (request.on_prompt_hidden && !request.hidden_of_last);
}

bool Sequence::wants_proposals() const {
  // Never for the first token: whether one token of the prompt is left at last depends on how it was cut.
  return !finished && request.constraint == nullptr && proposals.may_propose() && n_output() > 0 &&
         n_output() + 1 < max_tokens && computed + 1 == static_cast<int64_t>(tokens.size());
}

void Sequence::finish(FinishReason why) {
  if (finished) return;
  finished = true;
  reason = why;
}

void Sequence::fail(const std::exception& failure) {
  if (!finished) error = failure.what();
  finish(FinishReason::kError);
}

void Sequence::accept(const Choice& choice) {
  const bool is_output = !is_stop_token(choice.token);
  if (is_output) {
    tokens.push_back(choice.token);
    if (request.constraint != nullptr) {
      request.constraint->accept(choice.token);
      if (request.constraint->is_complete()) finish(FinishReason::kStop);
    }
    if (n_output() >= max_tokens) finish(FinishReason::kLength);
  } else {
    stop_token = choice.token;
    finish(FinishReason::kStop);
  }
  const size_t shown = text_.size();
  if (request.decoder != nullptr) add_text(choice.token, is_output);
  if (!request.on_token || (!is_output && text_.size() == shown)) return;
  const TokenEvent event{id, is_output ? &choice : nullptr, n_output(),
                         std::string_view(text_).substr(shown)};
  if (!request.on_token(event)) finish(FinishReason::kStop);
}

void Sequence::add_text(int32_t token, bool is_output) {
  piece_.clear();
  if (is_output) request.decoder->push(token, piece_);
  if (finished) request.decoder->finish(piece_);
  if (stops.push(piece_, text_)) {
    finished = true;
    reason = FinishReason::kStop;
  } else if (finished) {
    stops.finish(text_);
  }
}

Result Sequence::result() {
  Result result;
  result.request = id;
  result.reason = reason;
  result.tokens.assign(tokens.begin() + static_cast<std::ptrdiff_t>(prompt_length), tokens.end());
  result.text = std::move(text_);
  result.stop_token = stop_token;
  result.stop_string = stops.matched();
  result.error = error;
  result.seed = seed;
  result.usage = usage;
  result.usage.output_tokens = static_cast<int64_t>(result.tokens.size());
  return result;
}

}  // namespace llmhost::engine
