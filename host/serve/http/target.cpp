#include "serve/http/target.h"

#include <algorithm>
#include <cstdint>

namespace llmhost::serve {
namespace {

constexpr size_t kMaxTarget = 8 << 10;
constexpr size_t kMaxQueryValues = 64;
constexpr size_t kMaxKey = 512;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_clean(std::string_view text) {
  return std::none_of(text.begin(), text.end(), is_control) && is_utf8(text);
}

// A part between slashes (a decoded one may hold more) that would climb or stand still.
bool has_dot_part(std::string_view segment) {
  while (true) {
    const size_t end = segment.find_first_of("/\\");
    const std::string_view part = segment.substr(0, end);
    if (part == "." || part == "..") return true;
    if (end == std::string_view::npos) return false;
    segment.remove_prefix(end + 1);
  }
}

std::string_view parse_path(std::string_view raw, Target& target) {
  while (!raw.empty()) {
    raw.remove_prefix(1);  // its '/'
    const size_t end = std::min(raw.find('/'), raw.size());
    if (end > 0) {
      const auto segment = decode_percent(raw.substr(0, end));
      if (!segment) return "the path has a bad %-escape";
      if (!is_clean(*segment) || segment->find('\\') != std::string::npos)
        return "the path has a character that is not allowed";
      if (has_dot_part(*segment)) return "the path has a '.' or '..' segment";
      target.segments.push_back(*segment);
    }
    raw.remove_prefix(end);
  }
  return {};
}

std::string_view parse_query(std::string_view raw, Target& target) {
  while (!raw.empty()) {
    const size_t end = std::min(raw.find('&'), raw.size());
    const std::string_view pair = raw.substr(0, end);
    if (!pair.empty()) {
      const size_t equals = std::min(pair.find('='), pair.size());
      auto name = decode_percent(pair.substr(0, equals), true);
      auto value = decode_percent(pair.substr(std::min(equals + 1, pair.size())), true);
      if (!name || !value) return "the query has a bad %-escape";
      if (!is_clean(*name) || !is_clean(*value)) return "the query has a character that is not allowed";
      if (target.query.size() == kMaxQueryValues) return "the query has too many values";
      target.query.emplace_back(std::move(*name), std::move(*value));
    }
    raw.remove_prefix(std::min(end + 1, raw.size()));
  }
  return {};
}

bool starts_with_ignoring_case(std::string_view text, std::string_view lower_case) {
  return text.size() >= lower_case.size() && std::equal(lower_case.begin(), lower_case.end(), text.begin(),
                                                        [](char a, char b) { return a == lower(b); });
}

}  // namespace

std::string Target::path() const {
  if (is_asterisk) return "*";
  std::string path;
  for (const std::string& segment : segments) path.append("/").append(segment);
  return path.empty() ? "/" : path;
}

TargetResult parse_target(std::string_view raw) {
  TargetResult result;
  const auto refuse = [](std::string_view why) { return TargetResult{{}, why}; };
  if (raw.empty()) return refuse("the address is empty");
  if (raw.size() > kMaxTarget) return refuse("the address is longer than 8192 bytes");
  for (const char c : raw)
    if (is_control(c) || c == ' ' || c == '#' || c == '\\' || static_cast<unsigned char>(c) >= 0x80)
      return refuse("the address has a character that is not allowed");
  if (raw == "*") {
    result.target.is_asterisk = true;
    return result;
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!starts_with_ignoring_case(raw, scheme)) continue;
    raw.remove_prefix(scheme.size());
    const size_t end = std::min(raw.find_first_of("/?"), raw.size());
    result.target.authority = raw.substr(0, end);
    if (!parse_authority(result.target.authority)) return refuse("the address has no valid host");
    raw.remove_prefix(end);
    if (raw.empty()) return result;
    break;
  }
  if (raw.front() != '/' && (result.target.authority.empty() || raw.front() != '?'))
    return refuse("the address does not begin with '/'");
  const size_t question = std::min(raw.find('?'), raw.size());
  result.error = parse_path(raw.substr(0, question), result.target);
  if (result.error.empty() && question < raw.size())
    result.error = parse_query(raw.substr(question + 1), result.target);
  return result.error.empty() ? result : refuse(result.error);
}

std::optional<std::string> decode_percent(std::string_view text, bool plus_is_space) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (text.size() - i < 3) return std::nullopt;
      const int high = hex_value(text[i + 1]);
      const int low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      bytes += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      bytes += text[i] == '+' && plus_is_space ? ' ' : text[i];
    }
  }
  return bytes;
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead >= 0x80 && (lead < 0xc2 || lead > 0xf4)) return false;
    if (text.size() - i < length) return false;
    uint32_t code = length == 1 ? lead : lead & (0x7fU >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    if (length == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) return false;
    if (length == 4 && (code < 0x10000 || code > 0x10ffff)) return false;
    i += length;
  }
  return true;
}

std::optional<Authority> parse_authority(std::string_view text) {
  Authority result;
  const bool is_bracketed = text.starts_with('[');
  const size_t end = is_bracketed ? text.find(']') + 1 : std::min(text.find(':'), text.size());
  if (end == 0 || end > 255) return std::nullopt;
  for (const char c : text.substr(0, end)) {
    const bool is_name =
        (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '.' || c == '_';
    if (!is_name && !(is_bracketed && (c == '[' || c == ']' || c == ':'))) return std::nullopt;
    result.host += lower(c);
  }
  text.remove_prefix(end);
  if (text.empty()) return result;
  if (text.front() != ':') return std::nullopt;
  result.port = text.substr(1);
  const bool is_number =
      std::all_of(result.port.begin(), result.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number || result.port.size() > 5) return std::nullopt;
  return result;
}

std::optional<std::string_view> parse_bearer(std::string_view value) {
  if (!starts_with_ignoring_case(value, "bearer ")) return std::nullopt;
  value.remove_prefix(7);
  const auto is_key = [](char c) { return c > ' ' && c < 0x7f && c != ','; };
  if (value.empty() || value.size() > kMaxKey || !std::all_of(value.begin(), value.end(), is_key))
    return std::nullopt;
  return value;
}

bool is_header_value(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return is_control(c) && c != '\t'; });
}

}  // namespace llmhost::serve
