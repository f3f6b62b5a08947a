// Answers that say what went wrong, in the shape OpenAI's clients know:
// {"error": {"message", "type", "param", "code", "request_id"}}. A message is for the client: it never has a
// path of the server, a key, or what the client sent beyond names.
#pragma once

#include <string>
#include <string_view>

#include "serve/http/exchange.h"

namespace llmhost::serve {

struct HttpError {
  int status = 500;
  std::string code{};  // empty: null
  std::string message{};
  std::string param{};  // empty: null
  int retry_after = 0;  // seconds; 0: no such header
  std::string type{};   // empty: by the status, "invalid_request_error", "rate_limit_error", …
};

Response to_response(const HttpError& error, std::string_view request_id);
void send_error(Exchange& exchange, const HttpError& error);

}  // namespace llmhost::serve
