#include "serve/api/api_error.h"

#include "core/log.h"
#include "serve/api/json_text.h"
#include "serve/models/model_pool.h"
#include "serve/models/without_paths.h"
#include "text/template/template_error.h"

namespace llmhost::serve {
namespace {

constexpr int64_t kRetryLaterS = 2;

ApiError not_ready(const ModelNotReady& error) {
  ApiError answer(503, "model_not_ready", error.what());
  answer.code = "model_not_ready";
  answer.param = "model";
  answer.retry_after_s = error.retry_after_s;
  answer.state = to_text(error.state);
  answer.progress = error.progress;
  return answer;
}

ApiError internal(const std::string& reason, std::string_view request_id) {
  spdlog::error("{}: {}", request_id, reason);
  ApiError answer(500, "server_error", "the server failed; the log has the reason under this request's id");
  answer.code = "internal_error";
  return answer;
}

ApiError with_code(int status, std::string_view type, const std::string& message, std::string_view code) {
  ApiError answer(status, type, message);
  answer.code = code;
  return answer;
}

ApiError from_host(const Error& error, std::string_view request_id) {
  const std::string what = without_paths(error.what());
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kOutOfRange:
      return with_code(400, "invalid_request_error", what, "");
    case ErrorCode::kNotFound:
      return with_code(404, "invalid_request_error", what, "not_found");
    case ErrorCode::kPermissionDenied:
      return with_code(403, "permission_error", what, "permission_denied");
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kUnimplemented:
      return with_code(400, "invalid_request_error", what, "unsupported");
    case ErrorCode::kResourceExhausted: {
      ApiError answer = with_code(503, "overloaded_error", what, "resource_exhausted");
      answer.retry_after_s = kRetryLaterS;
      return answer;
    }
    case ErrorCode::kUnavailable: {
      ApiError answer = with_code(503, "server_error", what, "unavailable");
      answer.retry_after_s = kRetryLaterS;
      return answer;
    }
    default:
      return internal(error.what(), request_id);
  }
}

std::string_view plain_type(const ApiError& error) {
  if (error.status == 429 || error.status == 503) return "overloaded";
  return error.status >= 500 ? "generation" : "validation";
}

void append_or_null(std::string& out, std::string_view text) {
  if (text.empty())
    out += "null";
  else
    append_json_string(out, text);
}

}  // namespace

ApiError bad_field(std::string_view field, const std::string& message, std::string_view code) {
  ApiError error(400, "invalid_request_error", fmt::format("{}: {}", field, message));
  error.param = field;
  error.code = code.empty() ? "invalid_value" : code;
  return error;
}

ApiError context_overflow(int64_t prompt_tokens, int64_t output_tokens, int64_t context_length,
                          std::string_view field) {
  ApiError error(
      400, "invalid_request_error",
      output_tokens == 0
          ? fmt::format("the prompt has {} tokens and the context holds {} with the answer; shorten it",
                        prompt_tokens, context_length)
          : fmt::format("the prompt's {} tokens and the {} of the answer do not fit into the context of {}; "
                        "shorten the prompt or lower the limit of the answer",
                        prompt_tokens, output_tokens, context_length));
  error.code = "context_length_exceeded";
  error.param = field;
  return error;
}

ApiError context_overflow_of_text(size_t bytes, int64_t context_length, std::string_view field) {
  ApiError error(
      400, "invalid_request_error",
      fmt::format("the prompt has {} bytes, which cannot fit into the context of {} tokens; shorten it",
                  bytes, context_length));
  error.code = "context_length_exceeded";
  error.param = field;
  return error;
}

std::string shown_name(std::string_view name) {
  constexpr size_t kMost = 64;
  std::string shown(name.substr(0, kMost));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F) c = '?';
  return shown;
}

ApiError unknown_field(std::string_view place, std::string_view name, std::string_view known) {
  return bad_field(
      fmt::format("{}.{}", place, shown_name(name)),
      known.empty() ? "there is no such field" : fmt::format("there is no such field; there are {}", known),
      "unknown_parameter");
}

ApiError to_api_error(const std::exception_ptr& error, std::string_view request_id) {
  try {
    std::rethrow_exception(error);
  } catch (const ApiError& known) {
    return known;
  } catch (const ModelNotReady& known) {
    return not_ready(known);
  } catch (const text::jinja::TemplateError& known) {
    return with_code(422, "invalid_request_error", known.what(), "template_error");
  } catch (const Error& known) {
    return from_host(known, request_id);
  } catch (const std::exception& unknown) {
    return internal(unknown.what(), request_id);
  }
}

ApiError to_adapter_error(const std::exception_ptr& error, std::string_view request_id) {
  ApiError answer = to_api_error(error, request_id);
  if (answer.status == 404) answer.code = "adapter_not_found";
  if (answer.status == 400) answer.code = "adapter_refused";
  if (answer.status == 500) {
    try {
      std::rethrow_exception(error);
    } catch (const Error& known) {
      if (known.code() == ErrorCode::kDataLoss || known.code() == ErrorCode::kUnknown) {
        answer = to_api_error(std::make_exception_ptr(Error(ErrorCode::kInvalidArgument, known.what())),
                              request_id);
        answer.code = "adapter_refused";
      }
    } catch (...) {
    }
  }
  answer.param = "model";
  return answer;
}

std::string error_body(const ApiError& error, ErrorStyle style, std::string_view request_id) {
  std::string out;
  if (style == ErrorStyle::kPlainText) {
    out += "{\"error\":";
    append_json_string(out, error.what());
    out += ",\"error_type\":";
    append_json_string(out, plain_type(error));
    out += '}';
    return out;
  }
  out += "{\"error\":{\"message\":";
  append_json_string(out, error.what());
  out += ",\"type\":";
  append_json_string(out, error.type);
  out += ",\"param\":";
  append_or_null(out, error.param);
  out += ",\"code\":";
  append_or_null(out, error.code);
  if (!error.state.empty()) {
    out += ",\"state\":";
    append_json_string(out, error.state);
    out += ",\"progress\":";
    append_json_number(out, error.progress);
  }
  out += ",\"request_id\":";
  append_json_string(out, request_id);
  out += "}}";
  return out;
}

Response error_response(const ApiError& error, ErrorStyle style, std::string_view request_id) {
  Response response;
  response.status = error.status;
  response.body = error_body(error, style, request_id);
  if (error.retry_after_s) response.headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
  return response;
}

void send_error(Exchange& exchange, const std::exception_ptr& error, ErrorStyle style) {
  const std::string& id = exchange.request().id;
  exchange.send(error_response(to_api_error(error, id), style, id));
}

}  // namespace llmhost::serve
