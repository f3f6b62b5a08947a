#include "serve/http/framing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace llmhost::serve {
namespace {

constexpr uint64_t kFreeChunks = 1000;  // beyond these, a chunk must have kMeanChunk bytes on average
constexpr uint64_t kMeanChunk = 64;

bool equals_ignoring_case(std::string_view text, std::string_view lower_case) {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; });
}

HttpError unclear_length() {
  return {400, "malformed_request", "the length of the body is not clear"};
}

}  // namespace

size_t RequestHead::count(std::string_view name) const {
  return static_cast<size_t>(std::count_if(headers.begin(), headers.end(),
                                           [&](const auto& header) { return header.first == name; }));
}

std::string_view RequestHead::value(std::string_view name) const {
  for (const auto& header : headers)
    if (header.first == name) return header.second;
  return {};
}

HttpError body_too_large(size_t max_body_bytes) {
  return {413, "body_too_large", fmt::format("the body has more than {} bytes", max_body_bytes)};
}

std::optional<HttpError> check_framing(const RequestHead& head, const FramingLimits& limits) {
  if (head.headers.size() > limits.max_header_fields)
    return HttpError{431, "header_too_large",
                     fmt::format("the header has more than {} fields", limits.max_header_fields)};
  const size_t encodings = head.count("transfer-encoding");
  const size_t lengths = head.count("content-length");
  if (encodings + lengths > 1) return unclear_length();
  if (encodings == 1 &&
      (head.is_http_1_0 || !equals_ignoring_case(head.value("transfer-encoding"), "chunked")))
    return unclear_length();
  if (lengths == 1) {
    const std::string_view text = head.value("content-length");
    uint64_t length = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (end != text.data() + text.size() || status == std::errc::invalid_argument) return unclear_length();
    if (status != std::errc() || length > limits.max_body_bytes) return body_too_large(limits.max_body_bytes);
  }
  if (head.count("content-encoding") > 0 && !equals_ignoring_case(head.value("content-encoding"), "identity"))
    return HttpError{415, "content_encoding", "packed bodies are not taken: send the body as it is"};
  if (head.count("expect") > 0 && !equals_ignoring_case(head.value("expect"), "100-continue"))
    return HttpError{417, {}, "only 'Expect: 100-continue' is known"};
  return std::nullopt;
}

bool ChunkCount::add(uint64_t size) {
  bytes_ += std::min(size, (uint64_t{1} << 62) - bytes_);
  return ++chunks_ <= kFreeChunks || bytes_ / kMeanChunk >= chunks_;
}

}  // namespace llmhost::serve
