#include "serve/http/request_log.h"

#include <algorithm>
#include <exception>

#include "core/log.h"
#include "serve/http/errors.h"

namespace llmhost::serve {
namespace {

// A method is a word of the client's choice.
std::string_view known_method(const std::string& method) {
  for (const std::string_view known : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
    if (method == known) return known;
  return "-";
}

}  // namespace

void log_request(const RequestRecord& record) {
  const HttpRequest& request = record.request;
  spdlog::info("http {} {} {} {:.1f} ms {} bytes key={} {}", known_method(request.method), record.route,
               record.status, record.seconds() * 1e3, record.sent_bytes,
               request.caller.key_name.empty() ? "-" : request.caller.key_name, request.id);
}

void run_handler(const Handler& handler, std::shared_ptr<Exchange> exchange) {
  const std::string id = exchange->request().id;
  try {
    handler(exchange);
    return;
  } catch (const std::exception& e) {
    // The text may hold a path or a piece of the request: not at the level that runs by default.
    spdlog::error("http {}: the handler failed", id);
    spdlog::debug("http {}: {}", id, e.what());
  } catch (...) {
    spdlog::error("http {}: the handler failed", id);
  }
  exchange->send(
      to_response({500, {}, "internal error; the server's log has more under this request's id"}, id));
}

}  // namespace llmhost::serve
