// Answers of /v1/chat/completions.
#include <utility>

#include "serve/api/answer_json.h"
#include "serve/api/json_text.h"
#include "serve/api/stream_chunks.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

void append_call(std::string& out, const text::ParsedCall& call) {
  out += "{\"id\":";
  append_json_string(out, call.id);
  out += R"(,"type":"function","function":{"name":)";
  append_json_string(out, call.name);
  out += ",\"arguments\":";
  append_json_string(out, call.arguments);
  out += "}}";
}

void append_message(std::string& out, const Choice& choice) {
  out += R"("message":{"role":"assistant","content":)";
  if (choice.text.empty() && !choice.calls.empty())
    out += "null";
  else
    append_json_string(out, choice.text);
  out += ",\"refusal\":null";
  if (!choice.reasoning.empty()) {
    out += ",\"reasoning_content\":";
    append_json_string(out, choice.reasoning);
  }
  if (!choice.calls.empty()) {
    out += ",\"tool_calls\":[";
    for (size_t i = 0; i < choice.calls.size(); ++i) {
      if (i > 0) out += ',';
      append_call(out, choice.calls[i]);
    }
    out += ']';
  }
  out += '}';
}

class ChatWriter final : public AnswerWriter {
 public:
  std::string whole(const AnswerFacts& facts, std::span<const Choice* const> choices,
                    const AnswerUsage& usage) override {
    std::string out = chunk_head(facts, "chat.completion");
    out += "\"choices\":[";
    for (size_t i = 0; i < choices.size(); ++i) {
      const Choice& choice = *choices[i];
      out += i > 0 ? ",{\"index\":" : "{\"index\":";
      append_json_integer(out, choice.index);
      out += ',';
      append_message(out, choice);
      out += ",\"logprobs\":";
      if (facts.options.sampling.logprobs) {
        out += "{\"content\":";
        append_token_logprobs(out, *facts.names, choice.tokens);
        out += ",\"refusal\":null}";
      } else {
        out += "null";
      }
      out += ",\"finish_reason\":";
      append_json_string(out, finish_reason(choice));
      out += '}';
    }
    out += "],\"usage\":";
    append_usage(out, usage);
    out += ',';
    append_llmhost(out, facts, choices, usage);
    out += '}';
    return out;
  }

  void begin(const AnswerFacts& facts, std::string& out) override {
    facts_ = &facts;
    head_ = "data: " + chunk_head(facts, "chat.completion.chunk");
    tail_ = facts.options.include_usage ? ",\"usage\":null}\n\n" : "}\n\n";
    const auto n = facts.prompts.size() * static_cast<size_t>(facts.options.n);
    for (size_t i = 0; i < n; ++i) {
      open_chunk(static_cast<int32_t>(i), out);
      out += R"("role":"assistant","content":"")";
      close_chunk(nullptr, out);
    }
  }

  void piece(const Choice& choice, const Piece& piece, std::string& out) override {
    const TokenRecord* token = piece.token;
    if (!piece.content.empty()) {
      open_chunk(choice.index, out);
      out += "\"content\":\"";
      append_json_escaped(out, piece.content);
      out += '"';
      close_chunk(std::exchange(token, nullptr), out);
    }
    for (const text::ToolDelta& delta : piece.deltas) {
      open_chunk(choice.index, out);
      append_delta(out, delta);
      close_chunk(std::exchange(token, nullptr), out);
    }
    if (token == nullptr) return;
    open_chunk(choice.index, out);
    close_chunk(token, out);
  }

  void choice_end(const Choice& choice, std::string& out) override {
    open_chunk(choice.index, out);
    out += "},\"logprobs\":null,\"finish_reason\":";
    append_json_string(out, finish_reason(choice));
    out += "}],";
    const Choice* const one = &choice;
    append_llmhost(out, *facts_, std::span(&one, 1), {.cached_tokens = choice.result.usage.reused_tokens});
    out += tail_;
  }

  void end(const AnswerFacts& facts, std::span<const Choice* const> /*choices*/, const AnswerUsage& usage,
           std::string& out) override {
    append_stream_end(out, head_, facts, usage);
  }

  void error(const ApiError& error, std::string_view request_id, std::string& out) override {
    append_error_event(out, error, request_id);
  }

 private:
  void open_chunk(int32_t index, std::string& out) const {
    out += head_;
    out += "\"choices\":[{\"index\":";
    append_json_integer(out, index);
    out += ",\"delta\":{";
  }

  void close_chunk(const TokenRecord* token, std::string& out) const {
    if (token == nullptr) {
      out += R"(},"logprobs":null,"finish_reason":null}])";
    } else {
      out += "},\"logprobs\":{\"content\":[";
      append_token_logprob(out, *facts_->names, *token);
      out += R"(],"refusal":null},"finish_reason":null}])";
    }
    out += tail_;
  }

  static void append_delta(std::string& out, const text::ToolDelta& delta) {
    using Kind = text::ToolDelta::Kind;
    if (delta.kind == Kind::kContent || delta.kind == Kind::kReasoning) {
      out += delta.kind == Kind::kContent ? "\"content\":" : "\"reasoning_content\":";
      append_json_string(out, delta.text);
      return;
    }
    out += "\"tool_calls\":[{\"index\":";
    append_json_integer(out, static_cast<int64_t>(delta.index));
    if (delta.kind == Kind::kCallBegin) {
      out += ",\"id\":";
      append_json_string(out, delta.id);
      out += R"(,"type":"function","function":{"name":)";
      append_json_string(out, delta.name);
      out += R"(,"arguments":""}}])";
    } else {
      out += ",\"function\":{\"arguments\":";
      append_json_string(out, delta.text);
      out += "}}]";
    }
  }

  const AnswerFacts* facts_ = nullptr;
  std::string head_;
  std::string tail_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_chat_writer() {
  return std::make_unique<ChatWriter>();
}

}  // namespace llmhost::serve
