// What went wrong with a request, as its caller is told: a status, OpenAI's error object, and a message that
// speaks of the request alone: no path, no pointer, no prompt.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "serve/http/exchange.h"

namespace llmhost::serve {

class ApiError : public Error {
 public:
  ApiError(int http_status, std::string_view error_type, const std::string& message)
      : Error(ErrorCode::kInvalidArgument, message), status(http_status), type(error_type) {}

  int status;
  std::string type;                      // "invalid_request_error", …
  std::string param;                     // the field that is at fault, or empty
  std::string code;                      // "model_not_found", … or empty
  std::optional<int64_t> retry_after_s;  // a header
  std::string state;                     // of a model that is not ready
  double progress = 0;
};

// 400, naming the field.
ApiError bad_field(std::string_view field, const std::string& message, std::string_view code = {});
// The context does not hold so many tokens: 400 with both numbers.
ApiError context_overflow(int64_t prompt_tokens, int64_t output_tokens, int64_t context_length,
                          std::string_view field);
// The same of a text that is not worth encoding.
ApiError context_overflow_of_text(size_t bytes, int64_t context_length, std::string_view field);
// A name that a request has, cut and made printable.
std::string shown_name(std::string_view name);
// 400: the object `place` of a request has no such field; `known` lists those that it has, as a text.
ApiError unknown_field(std::string_view place, std::string_view name, std::string_view known = {});

// How an endpoint words its errors.
enum class ErrorStyle {
  kOpenAi,    // {"error": {"message", "type", "param", "code"}}
  kPlainText  // {"error": "message", "error_type": "validation"}
};

// Any exception as what the caller is told. What is not the caller's fault becomes 500 with the request's id,
// and its reason goes to the log.
ApiError to_api_error(const std::exception_ptr& error, std::string_view request_id);
// The same of loading an adapter: its fault is the request's, whatever it is.
ApiError to_adapter_error(const std::exception_ptr& error, std::string_view request_id);
// The body of the answer.
std::string error_body(const ApiError& error, ErrorStyle style, std::string_view request_id);
Response error_response(const ApiError& error, ErrorStyle style, std::string_view request_id);
void send_error(Exchange& exchange, const std::exception_ptr& error, ErrorStyle style);

}  // namespace llmhost::serve
