// POST /tokenize, /detokenize, /apply-template: what a model reads and writes, as tokens.
#include <algorithm>

#include "serve/api/chat_prompt.h"
#include "serve/api/endpoints.h"
#include "serve/api/json_text.h"
#include "serve/api/prompts.h"

namespace llmhost::serve {
namespace {

constexpr size_t kMostCounted = 1 << 20;

void append_tokens(std::string& out, std::span<const int32_t> tokens) {
  out += '[';
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    append_json_integer(out, tokens[i]);
  }
  out += ']';
}

void send(const std::shared_ptr<Call>& call, std::string body) {
  Response response;
  response.body = std::move(body);
  call->exchange().send(std::move(response));
}

void append_model(std::string& out, const ModelUse& use, const CheckedBody& checked) {
  out += ",\"model\":";
  append_json_string(out, use.shown_name());
  out += ",\"max_model_len\":";
  append_json_integer(out, use.model->card().context_length);
  if (checked.ignored.empty()) return;
  out += ",\"ignored\":";
  out += OrderedJson(checked.ignored).dump();
}

PromptInput prompt_of(const ServedModel& model, CheckedBody& checked, Compat compat) {
  const ToolsOfRequest tools = check_tools(checked, compat);
  const OrderedJson messages = check_messages(*checked.find("messages"), {compat, checked.ignored});
  return chat_prompt(model, checked, messages, tools);
}

void run_tokenize(const std::shared_ptr<Call>& call, CheckedBody& checked, const ModelUse& use) {
  const ServedModel& model = *use.model;
  std::vector<int32_t> tokens;
  if (checked.find("messages") != nullptr) {
    tokens = prompt_of(model, checked, call->compat()).tokens;
  } else {
    const OrderedJson* prompt = checked.find("prompt");
    const char* const field = prompt != nullptr ? "prompt" : "content";
    const std::string text = prompt != nullptr ? prompt->get<std::string>() : checked.text("content");
    // Texts longer than the context are counted too, up to a length that keeps nobody waiting.
    if (text.size() > std::max(most_prompt_bytes(model), kMostCounted))
      throw context_overflow_of_text(text.size(), model.card().context_length, field);
    tokens = model.encode(text, !checked.flag("add_special_tokens", true));
  }
  std::string out = "{\"tokens\":";
  append_tokens(out, tokens);
  out += ",\"count\":";
  append_json_integer(out, static_cast<int64_t>(tokens.size()));
  if (checked.flag("with_pieces", false)) {
    const TokenNames names(model);
    out += ",\"token_strs\":[";
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) out += ',';
      append_json_string(out, names.bytes(tokens[i]));
    }
    out += ']';
  }
  append_model(out, use, checked);
  out += '}';
  send(call, std::move(out));
}

void run_detokenize(const std::shared_ptr<Call>& call, const CheckedBody& checked, const ModelUse& use) {
  const auto tokens = checked.find("tokens")->get<std::vector<int32_t>>();
  const int64_t vocab = std::max<int64_t>(use.model->card().vocab_size, use.model->tokenizer().vocab_size());
  for (const int32_t token : tokens)
    if (token < 0 || token >= vocab)
      throw bad_field("tokens", fmt::format("token {} is not in the vocabulary of {}", token, vocab));
  const text::DecodeOptions options{.skip_special = checked.flag("skip_special_tokens", false)};
  std::string out = "{\"prompt\":";
  append_json_string(out, use.model->tokenizer().decode(tokens, options));
  append_model(out, use, checked);
  out += '}';
  send(call, std::move(out));
}

void run_apply_template(const std::shared_ptr<Call>& call, CheckedBody& checked, const ModelUse& use) {
  const PromptInput prompt = prompt_of(*use.model, checked, call->compat());
  std::string out = "{\"prompt\":";
  append_json_string(out, prompt.text);
  out += ",\"tokens\":";
  append_tokens(out, prompt.tokens);
  append_model(out, use, checked);
  out += '}';
  send(call, std::move(out));
}

std::shared_ptr<CheckedBody> check(const std::shared_ptr<Call>& call, Body body) {
  return std::make_shared<CheckedBody>(check_body(body, call->request().body, call->compat()));
}

}  // namespace

void tokenize(const std::shared_ptr<Call>& call) {
  const auto checked = check(call, kTokenizeBody);
  const int given = static_cast<int>(checked->find("prompt") != nullptr) +
                    static_cast<int>(checked->find("content") != nullptr) +
                    static_cast<int>(checked->find("messages") != nullptr);
  if (given != 1) throw bad_field("prompt", "expected one of prompt, content and messages");
  with_model(call, checked->text("model"), {},
             [call, checked](const ModelUse& use) { run_tokenize(call, *checked, use); });
}

void detokenize(const std::shared_ptr<Call>& call) {
  const auto checked = check(call, kDetokenizeBody);
  with_model(call, checked->text("model"), {},
             [call, checked](const ModelUse& use) { run_detokenize(call, *checked, use); });
}

void apply_template(const std::shared_ptr<Call>& call) {
  const auto checked = check(call, kTemplateBody);
  with_model(call, checked->text("model"), {},
             [call, checked](const ModelUse& use) { run_apply_template(call, *checked, use); });
}

}  // namespace llmhost::serve
