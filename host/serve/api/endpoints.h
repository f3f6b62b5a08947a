// The endpoints, each a function of a request.
#pragma once

#include <memory>

#include "serve/api/call.h"

namespace llmhost::serve {

// Each reads the call's request and answers it, now or later; what it throws is the answer.
void chat_completions(const std::shared_ptr<Call>& call);
void completions(const std::shared_ptr<Call>& call);
void create_response(const std::shared_ptr<Call>& call);
void get_response(const std::shared_ptr<Call>& call);
void delete_response(const std::shared_ptr<Call>& call);
void embeddings(const std::shared_ptr<Call>& call);
void list_models(const std::shared_ptr<Call>& call);
void get_model(const std::shared_ptr<Call>& call);
void tokenize(const std::shared_ptr<Call>& call);
void detokenize(const std::shared_ptr<Call>& call);
void apply_template(const std::shared_ptr<Call>& call);
void generate(const std::shared_ptr<Call>& call);         // one JSON object
void generate_stream(const std::shared_ptr<Call>& call);  // events
void generate_either(const std::shared_ptr<Call>& call);  // as "stream" says
void server_info(const std::shared_ptr<Call>& call);
void openapi_document(const std::shared_ptr<Call>& call);

// "chatcmpl-" and the request's id without its own prefix.
std::string answer_id(std::string_view prefix, const Call& call);
int64_t unix_time();

}  // namespace llmhost::serve
