// Answers of /generate, /generate_stream and /.
#include "serve/api/answer_json.h"
#include "serve/api/json_text.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

std::string_view finish_text(const Choice& choice) {
  if (choice.result.reason == engine::FinishReason::kLength) return "length";
  return choice.result.stop_string.empty() ? "eos_token" : "stop_sequence";
}

class GenerateWriter final : public AnswerWriter {
 public:
  explicit GenerateWriter(const GenerateForm& form) : form_(form) {}

  std::string whole(const AnswerFacts& facts, std::span<const Choice* const> choices,
                    const AnswerUsage& /*usage*/) override {
    facts_ = &facts;
    std::string out = form_.as_list ? "[{" : "{";
    append_text(*choices.front(), out);
    if (form_.details) {
      out += ",\"details\":{";
      append_details(*choices.front(), true, out);
      out += '}';
    }
    append_ignored(out, facts.ignored);
    out += form_.as_list ? "}]" : "}";
    return out;
  }

  void begin(const AnswerFacts& facts, std::string& /*out*/) override { facts_ = &facts; }

  void piece(const Choice& /*choice*/, const Piece& piece, std::string& out) override {
    if (piece.token == nullptr) {
      append_json_escaped(held_text_, piece.content);
      return;
    }
    send_held(out);
    held_ = *piece.token;
    held_text_.clear();
    append_json_escaped(held_text_, piece.content);
    has_held_ = true;
  }

  // The last token's event has the whole text too, so each is held back until the next comes.
  void choice_end(const Choice& choice, std::string& out) override {
    if (!has_held_) {
      held_ = {};
      held_.token = choice.result.stop_token;
    }
    out += "data:{\"token\":";
    append_token(held_, held_text_, out);
    out += ',';
    append_text(choice, out);
    out += ",\"details\":";
    if (form_.details) {
      out += '{';
      append_details(choice, false, out);
      out += '}';
    } else {
      out += "null";
    }
    append_ignored(out, facts_->ignored);
    out += "}\n\n";
  }

  void end(const AnswerFacts& /*facts*/, std::span<const Choice* const> /*choices*/,
           const AnswerUsage& /*usage*/, std::string& /*out*/) override {}

  void error(const ApiError& error, std::string_view request_id, std::string& out) override {
    out += "data:";
    out += error_body(error, ErrorStyle::kPlainText, request_id);
    out += "\n\n";
  }

 private:
  void send_held(std::string& out) {
    if (!has_held_) return;
    has_held_ = false;
    out += "data:{\"token\":";
    append_token(held_, held_text_, out);
    out += ",\"generated_text\":null,\"details\":null}\n\n";
  }

  void append_text(const Choice& choice, std::string& out) const {
    out += "\"generated_text\":\"";
    if (form_.full_text) append_json_escaped(out, facts_->prompts[choice.prompt].text);
    append_json_escaped(out, choice.text);
    out += '"';
  }

  // `text` is escaped already.
  void append_token(const TokenRecord& record, std::string_view text, std::string& out) const {
    out += "{\"id\":";
    append_json_integer(out, record.token);
    out += ",\"text\":\"";
    out += text;
    out += "\",\"logprob\":";
    append_json_number(out, record.has_logprob ? record.logprob : 0.0);
    out += ",\"special\":";
    const bool is_special = record.token >= 0 && facts_->use.model->tokenizer().is_special(record.token);
    out += is_special ? "true" : "false";
    if (form_.alternatives > 0) append_alternatives(record, out);
    out += '}';
  }

  void append_alternatives(const TokenRecord& record, std::string& out) const {
    out += ",\"alternative_tokens\":[";
    for (size_t i = 0; i < record.top.size(); ++i) {
      out += i > 0 ? ",{\"id\":" : "{\"id\":";
      append_json_integer(out, record.top[i].token);
      out += ",\"text\":";
      append_json_string(out, facts_->names->bytes(record.top[i].token));
      out += ",\"logprob\":";
      append_json_number(out, record.top[i].logprob);
      out += '}';
    }
    out += ']';
  }

  void append_prefill(const Choice& choice, std::string& out) const {
    out += ",\"prefill\":[";
    for (size_t i = 0; form_.prompt_details && i < choice.prompt_tokens.size(); ++i) {
      const TokenRecord& record = choice.prompt_tokens[i];
      out += i > 0 ? ",{\"id\":" : "{\"id\":";
      append_json_integer(out, record.token);
      out += ",\"text\":";
      append_json_string(out, facts_->names->bytes(record.token));
      out += ",\"logprob\":";
      if (record.has_logprob)
        append_json_number(out, record.logprob);
      else
        out += "null";
      out += '}';
    }
    out += "],\"tokens\":[";
    for (size_t i = 0; i < choice.tokens.size(); ++i) {
      if (i > 0) out += ',';
      std::string text;
      append_json_escaped(text, facts_->names->bytes(choice.tokens[i].token));
      append_token(choice.tokens[i], text, out);
    }
    out += ']';
  }

  void append_details(const Choice& choice, bool with_tokens, std::string& out) const {
    out += "\"finish_reason\":";
    append_json_string(out, finish_text(choice));
    out += ",\"prompt_tokens\":";
    append_json_integer(out, static_cast<int64_t>(facts_->prompts[choice.prompt].tokens.size()));
    out += ",\"generated_tokens\":";
    append_json_integer(out, choice.result.usage.output_tokens);
    out += ",\"seed\":";
    out += form_.tells_seed ? std::to_string(choice.seed) : "null";
    if (with_tokens) append_prefill(choice, out);
  }

  GenerateForm form_;
  const AnswerFacts* facts_ = nullptr;
  TokenRecord held_;
  std::string held_text_;
  bool has_held_ = false;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_generate_writer(GenerateForm form) {
  return std::make_unique<GenerateWriter>(form);
}

}  // namespace llmhost::serve
