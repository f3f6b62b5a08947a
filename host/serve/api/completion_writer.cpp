// Answers of /v1/completions.
#include <map>

#include "serve/api/answer_json.h"
#include "serve/api/json_text.h"
#include "serve/api/stream_chunks.h"
#include "serve/api/writers.h"

namespace llmhost::serve {
namespace {

int64_t n_characters(std::string_view text) {
  int64_t n = 0;
  for (const char c : text)
    if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) ++n;
  return n;
}

// Tokens with their logprobs; `offset` is the place of the first in the text and moves on.
class LogprobLists {
 public:
  LogprobLists(const TokenNames& names, int64_t& offset, bool has_top)
      : names_(names), offset_(offset), has_top_(has_top) {}

  void add(const TokenRecord& record) {
    const std::string text = names_.bytes(record.token);
    const char* const comma = tokens_.empty() ? "" : ",";
    tokens_ += comma;
    append_json_string(tokens_, text);
    logprobs_ += comma;
    if (record.has_logprob)
      append_json_number(logprobs_, record.logprob);
    else
      logprobs_ += "null";
    top_ += comma;
    append_top(record);
    offsets_ += comma;
    append_json_integer(offsets_, offset_);
    offset_ += n_characters(text);
  }

  void append(std::string& out) const {
    out += "{\"tokens\":[" + tokens_ + "],\"token_logprobs\":[" + logprobs_ + "],\"top_logprobs\":";
    out += has_top_ ? '[' + top_ + ']' : "null";
    out += ",\"text_offset\":[" + offsets_ + "]}";
  }

 private:
  void append_top(const TokenRecord& record) {
    if (!record.has_logprob) {
      top_ += "null";
      return;
    }
    top_ += '{';
    std::map<std::string, double> seen;  // two tokens may read the same
    for (const auto& [token, logprob] : record.top) seen.emplace(names_.bytes(token), logprob);
    seen.emplace(names_.bytes(record.token), record.logprob);
    const char* comma = "";
    for (const auto& [text, logprob] : seen) {
      top_ += std::exchange(comma, ",");
      append_json_string(top_, text);
      top_ += ':';
      append_json_number(top_, logprob);
    }
    top_ += '}';
  }

  const TokenNames& names_;
  int64_t& offset_;
  bool has_top_;
  std::string tokens_, logprobs_, top_, offsets_;
};

class CompletionWriter final : public AnswerWriter {
 public:
  std::string whole(const AnswerFacts& facts, std::span<const Choice* const> choices,
                    const AnswerUsage& usage) override {
    std::string out = chunk_head(facts, "text_completion");
    out += "\"choices\":[";
    for (size_t i = 0; i < choices.size(); ++i) {
      const Choice& choice = *choices[i];
      out += i > 0 ? ",{\"index\":" : "{\"index\":";
      append_json_integer(out, choice.index);
      out += ",\"text\":\"";
      if (facts.options.echo) append_json_escaped(out, facts.prompts[choice.prompt].text);
      append_json_escaped(out, choice.text);
      out += "\",\"logprobs\":";
      append_logprobs(out, facts, choice);
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
    head_ = "data: " + chunk_head(facts, "text_completion");
    tail_ = facts.options.include_usage ? ",\"usage\":null}\n\n" : "}\n\n";
    const auto each = static_cast<size_t>(facts.options.n);
    offsets_.assign(facts.prompts.size() * each, 0);
    if (!facts.options.echo) return;
    for (size_t i = 0; i < offsets_.size(); ++i) {
      const std::string& prompt = facts.prompts[i / each].text;
      open_chunk(static_cast<int32_t>(i), prompt, out);
      out += R"(,"logprobs":null,"finish_reason":null}])";
      out += tail_;
      offsets_[i] = n_characters(prompt);
    }
  }

  void piece(const Choice& choice, const Piece& piece, std::string& out) override {
    open_chunk(choice.index, piece.content, out);
    if (piece.token != nullptr) {
      LogprobLists lists(*facts_->names, offsets_[static_cast<size_t>(choice.index)], has_top(*facts_));
      lists.add(*piece.token);
      out += ",\"logprobs\":";
      lists.append(out);
      out += ",\"finish_reason\":null}]";
    } else {
      out += R"(,"logprobs":null,"finish_reason":null}])";
    }
    out += tail_;
  }

  void choice_end(const Choice& choice, std::string& out) override {
    open_chunk(choice.index, {}, out);
    out += ",\"logprobs\":null,\"finish_reason\":";
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
  static bool has_top(const AnswerFacts& facts) { return facts.options.sampling.top_logprobs > 0; }

  static void append_logprobs(std::string& out, const AnswerFacts& facts, const Choice& choice) {
    if (!facts.options.sampling.logprobs) {
      out += "null";
      return;
    }
    int64_t offset = 0;
    if (facts.options.echo && choice.prompt_tokens.empty())
      offset = n_characters(facts.prompts[choice.prompt].text);
    LogprobLists lists(*facts.names, offset, has_top(facts));
    for (const TokenRecord& record : choice.prompt_tokens) lists.add(record);
    for (const TokenRecord& record : choice.tokens) lists.add(record);
    lists.append(out);
  }

  void open_chunk(int32_t index, std::string_view text, std::string& out) const {
    out += head_;
    out += "\"choices\":[{\"index\":";
    append_json_integer(out, index);
    out += ",\"text\":\"";
    append_json_escaped(out, text);
    out += '"';
  }

  const AnswerFacts* facts_ = nullptr;
  std::string head_;
  std::string tail_;
  std::vector<int64_t> offsets_;  // a choice
};

}  // namespace

std::unique_ptr<AnswerWriter> make_completion_writer() {
  return std::make_unique<CompletionWriter>();
}

}  // namespace llmhost::serve
