#include "serve/api/answer_json.h"

#include "serve/api/json_text.h"

namespace llmhost::serve {
namespace {

void append_token(std::string& out, const TokenNames& names, int32_t token, double logprob) {
  const std::string bytes = names.bytes(token);
  out += "{\"token\":";
  append_json_string(out, bytes);
  out += ",\"logprob\":";
  append_json_number(out, logprob);
  out += ",\"bytes\":[";
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    append_json_integer(out, static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

}  // namespace

std::string_view finish_reason(const Choice& choice) {
  if (choice.result.reason == engine::FinishReason::kLength) return "length";
  return choice.calls.empty() ? "stop" : "tool_calls";
}

std::string system_fingerprint(const ServedModel& model) {
  return "fp_" + model.card().digest.substr(0, 12);
}

void append_usage(std::string& out, const AnswerUsage& usage) {
  out += "{\"prompt_tokens\":";
  append_json_integer(out, usage.prompt_tokens);
  out += ",\"completion_tokens\":";
  append_json_integer(out, usage.output_tokens);
  out += ",\"total_tokens\":";
  append_json_integer(out, usage.prompt_tokens + usage.output_tokens);
  out += ",\"prompt_tokens_details\":{\"cached_tokens\":";
  append_json_integer(out, usage.cached_tokens);
  out += "}}";
}

void append_strings(std::string& out, std::span<const std::string> strings) {
  out += '[';
  for (size_t i = 0; i < strings.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, strings[i]);
  }
  out += ']';
}

void append_llmhost(std::string& out, const AnswerFacts& facts, std::span<const Choice* const> choices,
                    const AnswerUsage& usage) {
  out += "\"llmhost\":{\"model\":";
  append_json_string(out, facts.use.model->card().id);
  out += ",\"model_digest\":";
  append_json_string(out, facts.use.model->card().digest);
  out += ",\"adapter\":";
  if (facts.use.adapter) {
    append_json_string(out, facts.use.adapter_name);
    out += ",\"adapter_digest\":";
    append_json_string(out, adapter_digest(facts.use.adapter.get()));
  } else {
    out += "null,\"adapter_digest\":null";
  }
  out += ",\"cached_tokens\":";
  append_json_integer(out, usage.cached_tokens);
  out += ",\"seeds\":[";
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(choices[i]->seed);
  }
  out += ']';
  if (!facts.ignored.empty()) {
    out += ",\"ignored\":";
    append_strings(out, facts.ignored);
  }
  out += '}';
}

void append_ignored(std::string& out, std::span<const std::string> ignored) {
  if (ignored.empty()) return;
  out += ",\"llmhost\":{\"ignored\":";
  append_strings(out, ignored);
  out += '}';
}

void append_token_logprob(std::string& out, const TokenNames& names, const TokenRecord& record) {
  append_token(out, names, record.token, record.logprob);
  out += ",\"top_logprobs\":[";
  for (size_t i = 0; i < record.top.size(); ++i) {
    if (i > 0) out += ',';
    append_token(out, names, record.top[i].token, record.top[i].logprob);
    out += '}';
  }
  out += "]}";
}

void append_token_logprobs(std::string& out, const TokenNames& names, std::span<const TokenRecord> records) {
  out += '[';
  for (size_t i = 0; i < records.size(); ++i) {
    if (i > 0) out += ',';
    append_token_logprob(out, names, records[i]);
  }
  out += ']';
}

void append_error_event(std::string& out, const ApiError& error, std::string_view request_id) {
  out += "data: ";
  out += error_body(error, ErrorStyle::kOpenAi, request_id);
  out += "\n\n";
}

}  // namespace llmhost::serve
