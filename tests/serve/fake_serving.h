// A model, a pool and an exchange for tests of the endpoints: the model writes what the test says.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/json.h"
#include "engine/text_decoder.h"
#include "serve/http/exchange.h"
#include "serve/models/model_pool.h"
#include "support/paths.h"
#include "text/grammar/grammar.h"
#include "text/template/chat_prompt.h"
#include "text/tokenizer.h"
#include "text/tools/tool_format.h"

namespace llmhost::test {

class FakeExchange final : public serve::Exchange {
 public:
  serve::HttpRequest asked;
  serve::Response answer;
  std::string stream;
  bool is_sent = false, is_streaming = false, is_finished = false, is_gone = false;
  int64_t charged = 0;
  std::vector<std::function<void()>> closers;

  const serve::HttpRequest& request() const override { return asked; }
  void send(serve::Response response) override {
    answer = std::move(response);
    is_sent = true;
  }
  void start_stream(int status, std::string_view content_type, const serve::Headers&) override {
    answer.status = status;
    answer.content_type = content_type;
    is_streaming = true;
  }
  bool write(std::string_view bytes) override {
    if (!is_gone) stream += bytes;
    return !is_gone;
  }
  void finish() override { is_finished = true; }
  void on_close(std::function<void()> callback) override { closers.push_back(std::move(callback)); }
  bool is_open() const override { return !is_gone; }
  void charge_tokens(int64_t tokens) override { charged += tokens; }

  void leave() {
    is_gone = true;
    for (const auto& closer : closers) closer();
  }
  OrderedJson json() const { return OrderedJson::parse(answer.body); }
  // The data of the events, in order, without [DONE].
  std::vector<OrderedJson> events() const {
    std::vector<OrderedJson> all;
    size_t at = 0;
    while ((at = stream.find("data:", at)) != std::string::npos) {
      const size_t end = stream.find("\n\n", at);
      const std::string data = stream.substr(at + 5, end - at - 5);
      if (data != " [DONE]") all.push_back(OrderedJson::parse(data));
      at = end;
    }
    return all;
  }
};

class FakeModel final : public serve::ServedModel {
 public:
  explicit FakeModel(std::string id) : tokenizer_(text::load_tokenizer(data("models/stories260K"))) {
    card_.id = std::move(id);
    card_.digest = std::string(64, 'a');
    card_.context_length = 128;
    card_.vocab_size = tokenizer_->vocab_size();
    card_.longest_piece = 16;
    card_.has_chat_template = true;
  }

  // What it writes to each request; the last one is written to all further ones.
  std::deque<std::string> replies = {"Once upon"};
  text::ToolFormat format;
  engine::FinishReason reason = engine::FinishReason::kStop;
  std::vector<uint64_t> cancelled;
  std::map<uint64_t, engine::Request> waiting;

  // Runs what waits to its end, or `most` tokens of it.
  void pump(size_t most = SIZE_MAX) {
    while (!waiting.empty()) {
      auto node = waiting.extract(waiting.begin());
      run(node.key(), node.mapped(), most);
    }
  }

  const serve::ModelCard& card() const override { return card_; }
  serve::ModelCard& card() { return card_; }
  serve::ModelLoad load() const override { return {}; }
  const text::Tokenizer& tokenizer() const override { return *tokenizer_; }
  std::string render_chat(const OrderedJson& variables) const override {
    static const auto parsed = text::jinja::Template::parse(
        "{% if tools %}{{ tools | length }} tools\n{% endif %}{% for m in messages %}<{{ m.role }}>{{ "
        "m.content }}\n"
        "{% endfor %}{{ mood }}{% if add_generation_prompt %}<assistant>{% endif %}",
        "test");
    return text::render_chat(parsed, variables);
  }
  std::vector<int32_t> encode(std::string_view text, bool is_rendered) const override {
    return tokenizer_->encode(text, {.add_special = !is_rendered, .parse_special = true});
  }
  const std::vector<int32_t>& stop_tokens() const override { return stop_tokens_; }
  engine::SamplingParams default_sampling() const override { return {}; }
  const text::ToolFormat* tool_format() const override { return &format; }
  std::shared_ptr<const text::TokenVocabulary> grammar_vocabulary() const override {
    static const auto vocabulary = std::make_shared<const text::TokenVocabulary>(*tokenizer_);
    return vocabulary;
  }
  const engine::PoolingOptions& pooling() const override {
    throw_error(ErrorCode::kUnimplemented, "no pooling");
  }
  engine::AdapterStore* adapters() override { return nullptr; }
  Ticket submit(engine::Request request, uint64_t, std::string_view) override {
    const uint64_t id = ++last_;
    waiting.emplace(id, std::move(request));
    return {0, id};
  }
  void cancel(const Ticket& ticket) override { cancelled.push_back(ticket.id); }

 private:
  void run(uint64_t id, engine::Request& request, size_t most) {
    const std::string reply = replies.front();
    if (replies.size() > 1) replies.pop_front();
    const std::vector<int32_t> tokens =
        tokenizer_->encode(reply, {.add_special = false, .parse_special = true});
    engine::Result result;
    result.request = id;
    result.reason = reason;
    result.seed = request.sampling.seed.value_or(77);
    result.error = "broken inside";
    for (const int32_t token : tokens) {
      if (result.tokens.size() == most) break;
      engine::Choice choice;
      choice.token = token;
      choice.has_logprob = request.sampling.logprobs;
      choice.logprob = -0.5;
      choice.n_top = request.sampling.top_logprobs;
      for (size_t i = 0; i < static_cast<size_t>(choice.n_top); ++i)
        choice.top[i] = {static_cast<int32_t>(token + static_cast<int32_t>(i)),
                         -0.5 - static_cast<double>(i)};
      std::string text;
      request.decoder->push(token, text);
      result.text += text;
      result.tokens.push_back(token);
      request.on_token({id, &choice, static_cast<int64_t>(result.tokens.size()), text});
    }
    request.decoder->finish(result.text);
    result.usage.prompt_tokens = static_cast<int64_t>(request.prompt.size());
    result.usage.output_tokens = static_cast<int64_t>(result.tokens.size());
    result.usage.reused_tokens = 1;
    request.on_finish(std::move(result));
  }

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  serve::ModelCard card_;
  std::vector<int32_t> stop_tokens_ = {2};
  uint64_t last_ = 0;
};

class FakePool final : public serve::ModelPool {
 public:
  std::shared_ptr<FakeModel> model = std::make_shared<FakeModel>("tiny");
  std::exception_ptr failure;
  bool is_loading = false;
  std::vector<Ready> pending;
  std::vector<uint64_t> forgotten;

  uint64_t acquire(std::string_view name, Ready ready) override {
    if (is_loading)
      pending.push_back(std::move(ready));
    else if (failure)
      ready(nullptr, {}, failure);
    else if (name == "tiny")
      ready(model, {}, nullptr);
    else
      ready(nullptr, {}, std::make_exception_ptr(Error(ErrorCode::kNotFound, "no such model")));
    return 9;
  }
  void forget(uint64_t ticket) override { forgotten.push_back(ticket); }
  std::vector<serve::ModelStatus> list() const override {
    serve::ModelStatus status;
    status.id = "tiny";
    status.state = serve::ModelState::kLoaded;
    status.model = model;
    status.planned_bytes = 1000;
    return {status};
  }
  uint64_t memory_budget() const override { return 0; }
  uint64_t memory_used() const override { return 0; }
  bool is_ready() const override { return true; }
  void load(std::string_view) override {}
  void unload(std::string_view) override {}
};

}  // namespace llmhost::test
