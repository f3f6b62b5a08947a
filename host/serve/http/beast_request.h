// What Beast read of a request, in this server's words. For connection.cpp alone: Beast takes long to
// compile.
#pragma once

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>

#include "core/error.h"
#include "serve/http/errors.h"
#include "serve/http/framing.h"
#include "serve/http/server.h"

namespace llmhost::serve {

using RequestParser = boost::beast::http::request_parser<boost::beast::http::string_body>;

// The client's fault, not that it went.
inline bool is_malformed(const boost::system::error_code& ec) {
  return ec && ec.category() == make_error_code(boost::beast::http::error::end_of_stream).category() &&
         ec != boost::beast::http::error::end_of_stream && ec != boost::beast::http::error::partial_message;
}

inline HttpError read_error(const boost::system::error_code& ec, const ServerOptions& options) {
  if (ec == boost::beast::http::error::header_limit || ec == boost::beast::http::error::buffer_overflow)
    return {431, "header_too_large",
            fmt::format("the header has more than {} bytes", options.max_header_bytes)};
  if (ec == boost::beast::http::error::body_limit) return body_too_large(options.max_body_bytes);
  if (ec == boost::beast::http::error::bad_version) return {505, {}, "HTTP/1.0 or HTTP/1.1 is needed"};
  return {400, "malformed_request", "this is not a well-formed HTTP request"};
}

inline std::string lower(boost::beast::string_view text) {
  std::string result(text.data(), text.size());
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

inline RequestHead head_of(const RequestParser& parser) {
  const auto& message = parser.get();
  RequestHead head;
  head.method = std::string(message.method_string());
  head.target = std::string(message.target());
  head.is_http_1_0 = message.version() < 11;
  for (const auto& field : message)
    head.headers.emplace_back(lower(field.name_string()), std::string(field.value()));
  return head;
}

}  // namespace llmhost::serve
