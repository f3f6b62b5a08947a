// The parts of a request line and of headers that decide who may do what, read strictly: what could be
// understood in two ways is refused. Nothing here throws; a refusal is one line for the client.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llmhost::serve {

struct Target {
  std::vector<std::string> segments;  // decoded, none empty, none "." or ".."; "/" has none
  std::vector<std::pair<std::string, std::string>> query;  // decoded
  std::string authority;     // of the absolute form ("http://host:80/…"), else empty
  bool is_asterisk = false;  // "*": the server as a whole

  std::string path() const;  // "/" and the segments
};

struct TargetResult {
  Target target;
  std::string_view error;  // static text; empty: it is good
};

// Empty segments are dropped ("//v1/" is "/v1"). Refused: other forms, dot segments, raw or escaped control
// characters, '\', bad escapes, bad UTF-8, more than 8 KiB or 64 query values.
TargetResult parse_target(std::string_view raw);

// "%41%42" as bytes; nothing for a bad escape. With `plus_is_space` as forms do.
std::optional<std::string> decode_percent(std::string_view text, bool plus_is_space = false);

bool is_utf8(std::string_view text);

struct Authority {
  std::string host;  // lower case; an IPv6 address in brackets
  std::string port;  // digits, or empty
};
// "localhost:8080", "[::1]"; nothing for anything with a user, a space or an odd port.
std::optional<Authority> parse_authority(std::string_view text);

// The key of "Bearer KEY" (the scheme in any case); nothing for any other form, a comma or a space in it.
std::optional<std::string_view> parse_bearer(std::string_view value);

// Bytes that may stand in a header's value: no control characters but tab.
bool is_header_value(std::string_view text);

}  // namespace llmhost::serve
