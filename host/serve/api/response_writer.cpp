// Answers of /v1/responses: items, and the events in which they grow.
#include <utility>

#include "serve/api/answer_json.h"
#include "serve/api/json_text.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

constexpr std::string_view kInProgress = "in_progress", kCompleted = "completed", kIncomplete = "incomplete";

// A part of the answer.
struct Item {
  enum class Kind { kReasoning, kMessage, kCall };
  Kind kind = Kind::kMessage;
  std::string id;
  std::string text;  // or a call's arguments
  std::string call_id, name;
  std::vector<TokenRecord> tokens;
};

class ResponseWriter final : public AnswerWriter {
 public:
  explicit ResponseWriter(ResponseEcho echo) : echo_(std::move(echo)) {}

  std::string whole(const AnswerFacts& facts, std::span<const Choice* const> choices,
                    const AnswerUsage& usage) override {
    facts_ = &facts;
    const Choice& choice = *choices.front();
    if (!choice.reasoning.empty()) add(Item::Kind::kReasoning).text = choice.reasoning;
    if (!choice.text.empty() || choice.calls.empty()) {
      Item& message = add(Item::Kind::kMessage);
      message.text = choice.text;
      message.tokens = choice.tokens;
    }
    for (const text::ParsedCall& call : choice.calls) {
      Item& item = add(Item::Kind::kCall);
      item.call_id = call.id;
      item.name = call.name;
      item.text = call.arguments;
    }
    std::string out;
    append_response(out, status_of(choice), choices, &usage);
    if (echo_.store) echo_.store(choice, out);
    return out;
  }

  void begin(const AnswerFacts& facts, std::string& out) override {
    facts_ = &facts;
    for (const std::string_view type : {"response.created", "response.in_progress"}) {
      open_event(type, out);
      out += ",\"response\":";
      append_response(out, kInProgress, {}, nullptr);
      close_event(out);
    }
  }

  void piece(const Choice& /*choice*/, const Piece& piece, std::string& out) override {
    const TokenRecord* token = piece.token;
    if (!piece.content.empty() || (token != nullptr && piece.deltas.empty()))
      text_delta(Item::Kind::kMessage, piece.content, std::exchange(token, nullptr), out);
    for (const text::ToolDelta& delta : piece.deltas) {
      using Kind = text::ToolDelta::Kind;
      if (delta.kind == Kind::kContent)
        text_delta(Item::Kind::kMessage, delta.text, std::exchange(token, nullptr), out);
      else if (delta.kind == Kind::kReasoning)
        text_delta(Item::Kind::kReasoning, delta.text, nullptr, out);
      else if (delta.kind == Kind::kCallBegin)
        begin_call(delta, out);
      else
        text_delta(Item::Kind::kCall, delta.text, nullptr, out);
    }
  }

  void choice_end(const Choice& choice, std::string& out) override {
    if (items_.empty()) open_item(Item::Kind::kMessage, out);
    close_item(out, status_of(choice));
  }

  void end(const AnswerFacts& /*facts*/, std::span<const Choice* const> choices, const AnswerUsage& usage,
           std::string& out) override {
    const std::string_view status = status_of(*choices.front());
    std::string body;
    append_response(body, status, choices, &usage);
    open_event(status == kCompleted ? "response.completed" : "response.incomplete", out);
    out += ",\"response\":";
    out += body;
    close_event(out);
    if (echo_.store) echo_.store(*choices.front(), body);
  }

  void error(const ApiError& error, std::string_view /*request_id*/, std::string& out) override {
    open_event("error", out);
    out += ",\"code\":";
    append_json_string(out, error.code);
    out += ",\"message\":";
    append_json_string(out, error.what());
    out += ",\"param\":null";
    close_event(out);
  }

 private:
  static std::string_view status_of(const Choice& choice) {
    return choice.result.reason == engine::FinishReason::kLength ? kIncomplete : kCompleted;
  }

  Item& add(Item::Kind kind) {
    Item item;
    item.kind = kind;
    const char* const prefix = kind == Item::Kind::kReasoning ? "rs_"
                               : kind == Item::Kind::kMessage ? "msg_"
                                                              : "fc_";
    item.id = prefix + facts_->id.substr(facts_->id.find('_') + 1) + '_' + std::to_string(items_.size());
    items_.push_back(std::move(item));
    return items_.back();
  }

  void open_event(std::string_view type, std::string& out) {
    out += "event: ";
    out += type;
    out += "\ndata: {\"type\":\"";
    out += type;
    out += "\",\"sequence_number\":";
    append_json_integer(out, sequence_++);
  }
  static void close_event(std::string& out) { out += "}\n\n"; }

  void append_place(const Item& item, bool with_content, std::string& out) const {
    out += ",\"item_id\":\"";
    out += item.id;
    out += "\",\"output_index\":";
    append_json_integer(out, static_cast<int64_t>(items_.size()) - 1);
    if (with_content) out += ",\"content_index\":0";
  }

  void append_logprobs(std::span<const TokenRecord> tokens, std::string& out) const {
    out += ",\"logprobs\":";
    if (facts_->names)
      append_token_logprobs(out, *facts_->names, tokens);
    else
      out += "[]";
  }

  void append_part(const Item& item, bool with_text, std::string& out) const {
    const bool is_message = item.kind == Item::Kind::kMessage;
    out += is_message ? R"({"type":"output_text","text":)" : R"({"type":"reasoning_text","text":)";
    append_json_string(out, with_text ? std::string_view(item.text) : std::string_view());
    if (is_message) {
      out += ",\"annotations\":[]";
      append_logprobs(with_text ? std::span<const TokenRecord>(item.tokens) : std::span<const TokenRecord>(),
                      out);
    }
    out += '}';
  }

  void append_item(const Item& item, std::string_view status, std::string& out) const {
    const bool is_done = status != kInProgress;
    out += "{\"id\":\"" + item.id + "\",\"status\":\"";
    out += status;
    out += '"';
    if (item.kind == Item::Kind::kCall) {
      out += R"(,"type":"function_call","call_id":)";
      append_json_string(out, item.call_id);
      out += ",\"name\":";
      append_json_string(out, item.name);
      out += ",\"arguments\":";
      append_json_string(out, is_done ? std::string_view(item.text) : std::string_view());
    } else {
      out += item.kind == Item::Kind::kMessage ? R"(,"type":"message","role":"assistant","content":[)"
                                               : R"(,"type":"reasoning","summary":[],"content":[)";
      if (is_done) append_part(item, true, out);
      out += ']';
    }
    out += '}';
  }

  void open_item(Item::Kind kind, std::string& out, const text::ToolDelta* call = nullptr) {
    close_item(out);
    Item& item = add(kind);
    if (call != nullptr) {
      item.call_id = call->id;
      item.name = call->name;
    }
    is_open_ = true;
    open_event("response.output_item.added", out);
    out += ",\"output_index\":";
    append_json_integer(out, static_cast<int64_t>(items_.size()) - 1);
    out += ",\"item\":";
    append_item(item, kInProgress, out);
    close_event(out);
    if (kind == Item::Kind::kCall) return;
    open_event("response.content_part.added", out);
    append_place(item, true, out);
    out += ",\"part\":";
    append_part(item, false, out);
    close_event(out);
  }

  void close_item(std::string& out, std::string_view status = kCompleted) {
    if (!std::exchange(is_open_, false)) return;
    const Item& item = items_.back();
    const bool is_call = item.kind == Item::Kind::kCall;
    open_event(is_call                             ? "response.function_call_arguments.done"
               : item.kind == Item::Kind::kMessage ? "response.output_text.done"
                                                   : "response.reasoning_text.done",
               out);
    append_place(item, !is_call, out);
    out += is_call ? ",\"arguments\":" : ",\"text\":";
    append_json_string(out, item.text);
    if (is_call) {
      out += ",\"name\":";
      append_json_string(out, item.name);
    }
    if (item.kind == Item::Kind::kMessage) append_logprobs(item.tokens, out);
    close_event(out);
    if (!is_call) {
      open_event("response.content_part.done", out);
      append_place(item, true, out);
      out += ",\"part\":";
      append_part(item, true, out);
      close_event(out);
    }
    open_event("response.output_item.done", out);
    out += ",\"output_index\":";
    append_json_integer(out, static_cast<int64_t>(items_.size()) - 1);
    out += ",\"item\":";
    append_item(item, status, out);
    close_event(out);
  }

  void begin_call(const text::ToolDelta& delta, std::string& out) {
    open_item(Item::Kind::kCall, out, &delta);
  }

  void text_delta(Item::Kind kind, std::string_view text, const TokenRecord* token, std::string& out) {
    if (!is_open_ || items_.back().kind != kind) open_item(kind, out);
    Item& item = items_.back();
    item.text += text;
    if (token != nullptr) item.tokens.push_back(*token);
    open_event(kind == Item::Kind::kCall      ? "response.function_call_arguments.delta"
               : kind == Item::Kind::kMessage ? "response.output_text.delta"
                                              : "response.reasoning_text.delta",
               out);
    append_place(item, kind != Item::Kind::kCall, out);
    out += ",\"delta\":";
    append_json_string(out, text);
    if (kind == Item::Kind::kMessage)
      append_logprobs(token == nullptr ? std::span<const TokenRecord>() : std::span(token, 1), out);
    close_event(out);
  }

  void append_response(std::string& out, std::string_view status, std::span<const Choice* const> choices,
                       const AnswerUsage* usage) const {
    out += "{\"id\":";
    append_json_string(out, facts_->id);
    out += ",\"object\":\"response\",\"created_at\":";
    append_json_integer(out, facts_->created);
    out += ",\"status\":\"";
    out += status;
    out += R"(","error":null,"incomplete_details":)";
    out += status == kIncomplete ? R"({"reason":"max_output_tokens"})" : "null";
    out += ",\"model\":";
    append_json_string(out, facts_->model);
    out += ",";
    out += echo_.fields;
    out += "\"output\":[";
    for (size_t i = 0; usage != nullptr && i < items_.size(); ++i) {
      if (i > 0) out += ',';
      append_item(items_[i], i + 1 == items_.size() ? status : kCompleted, out);
    }
    out += "],\"usage\":";
    if (usage == nullptr) {
      out += "null}";
      return;
    }
    out += "{\"input_tokens\":";
    append_json_integer(out, usage->prompt_tokens);
    out += ",\"input_tokens_details\":{\"cached_tokens\":";
    append_json_integer(out, usage->cached_tokens);
    out += "},\"output_tokens\":";
    append_json_integer(out, usage->output_tokens);
    out += ",\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":";
    append_json_integer(out, usage->prompt_tokens + usage->output_tokens);
    out += "},";
    append_llmhost(out, *facts_, choices, *usage);
    out += '}';
  }

  ResponseEcho echo_;
  const AnswerFacts* facts_ = nullptr;
  std::vector<Item> items_;
  bool is_open_ = false;
  int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_response_writer(ResponseEcho echo) {
  return std::make_unique<ResponseWriter>(std::move(echo));
}

}  // namespace llmhost::serve
