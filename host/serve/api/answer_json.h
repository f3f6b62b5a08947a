// Parts of answers that several endpoints have, appended as JSON.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "serve/api/generation.h"

namespace llmhost::serve {

// "stop", "length", "tool_calls".
std::string_view finish_reason(const Choice& choice);
// "fp_" and the beginning of the model's digest.
std::string system_fingerprint(const ServedModel& model);

// {"prompt_tokens", …}
void append_usage(std::string& out, const AnswerUsage& usage);
// "llmhost":{…}: which content answered, with what seeds, and what was ignored of the request.
void append_llmhost(std::string& out, const AnswerFacts& facts, std::span<const Choice* const> choices,
                    const AnswerUsage& usage);
// ,"llmhost":{"ignored":[…]} where something was; for answers that say no more.
void append_ignored(std::string& out, std::span<const std::string> ignored);
// ["a", "b"]
void append_strings(std::string& out, std::span<const std::string> strings);

// {"token", "logprob", "bytes", "top_logprobs"}
void append_token_logprob(std::string& out, const TokenNames& names, const TokenRecord& record);
// Tokens with their logprobs as a chat has them: [{…}, …]
void append_token_logprobs(std::string& out, const TokenNames& names, std::span<const TokenRecord> records);

// data: {"error": …}
void append_error_event(std::string& out, const ApiError& error, std::string_view request_id);

}  // namespace llmhost::serve
