// One line for each request, and nothing in it that the client wrote: no path, no body, no key.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "serve/http/exchange.h"

namespace llmhost::serve {

constexpr int kClientGone = 499;  // the status in logs of an answer whose client went before its end

struct RequestRecord {
  const HttpRequest& request;
  std::string route;  // the pattern
  int status = 0;
  std::chrono::steady_clock::duration time{};
  uint64_t sent_bytes = 0;

  double seconds() const { return std::chrono::duration<double>(time).count(); }
};

void log_request(const RequestRecord& record);

// Calls the handler; what it throws becomes an answer of 500 that names the request and nothing else.
void run_handler(const Handler& handler, std::shared_ptr<Exchange> exchange);

}  // namespace llmhost::serve
