#include "serve/http/errors.h"

#include "core/json.h"

namespace llmhost::serve {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

OrderedJson text_or_null(const std::string& text) {
  return text.empty() ? OrderedJson() : OrderedJson(text);
}

}  // namespace

Response to_response(const HttpError& error, std::string_view request_id) {
  OrderedJson json;
  OrderedJson& inner = json["error"];
  inner["message"] = error.message;
  inner["type"] = error.type.empty() ? type_of(error.status) : std::string_view(error.type);
  inner["param"] = text_or_null(error.param);
  inner["code"] = text_or_null(error.code);
  if (!request_id.empty()) inner["request_id"] = request_id;
  Response response;
  response.status = error.status;
  response.body = json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  if (error.retry_after > 0) response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  return response;
}

void send_error(Exchange& exchange, const HttpError& error) {
  exchange.send(to_response(error, exchange.request().id));
}

}  // namespace llmhost::serve
