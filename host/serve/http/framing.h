// The head of a request, and what is refused in it before anybody is asked: where two readers could see
// different ends of the body, bodies that would have to be unpacked, and more than the limits allow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "serve/http/errors.h"
#include "serve/http/exchange.h"

namespace llmhost::serve {

struct RequestHead {
  std::string method;
  std::string target;
  Headers headers;  // names in lower case
  bool is_http_1_0 = false;

  size_t count(std::string_view name) const;
  std::string_view value(std::string_view name) const;  // of the first of this name, or empty
};

struct FramingLimits {
  size_t max_header_fields = 100;
  size_t max_body_bytes = 16 << 20;
};

std::optional<HttpError> check_framing(const RequestHead& head, const FramingLimits& limits);

HttpError body_too_large(size_t max_body_bytes);

// Counts the chunks of a body: many tiny ones cost much more than their bytes.
class ChunkCount {
 public:
  // False: too small on average.
  bool add(uint64_t size);
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t chunks_ = 0;
  uint64_t bytes_ = 0;  // at most 2^62
};

}  // namespace llmhost::serve
