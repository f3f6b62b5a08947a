#include "serve/tuning/multipart.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"

namespace llmhost::serve {
namespace {

constexpr size_t kMaxParts = 64;
constexpr size_t kMaxBoundary = 70;  // RFC 2046, section 5.1.1
constexpr size_t kMaxPartHeader = 4096;

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The parameter of a header value such as `form-data; name="file"; filename="a.jsonl"`.
std::optional<std::string> parameter(std::string_view value, std::string_view name) {
  size_t at = value.find(';');
  while (at != std::string_view::npos) {
    const size_t equals = value.find('=', at);
    if (equals == std::string_view::npos) return std::nullopt;
    const bool is_wanted = lower(trimmed(value.substr(at + 1, equals - at - 1))) == name;
    std::string text;
    size_t end = equals + 1;
    if (end < value.size() && value[end] == '"') {
      for (++end; end < value.size() && value[end] != '"'; ++end) {
        if (value[end] == '\\' && end + 1 < value.size() && (value[end + 1] == '"' || value[end + 1] == '\\'))
          ++end;
        text += value[end];
      }
      if (end == value.size()) return std::nullopt;
      end = value.find(';', end);
    } else {
      end = value.find(';', end);
      text = trimmed(value.substr(equals + 1, end == std::string_view::npos ? end : end - equals - 1));
    }
    if (is_wanted) return text;
    at = end;
  }
  return std::nullopt;
}

FormPart read_head(std::string_view head, size_t offset) {
  FormPart part;
  bool has_disposition = false;
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos)
      throw_invalid("the form's part at byte {} has a header line without a colon", offset);
    const std::string name = lower(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (name == "content-transfer-encoding" && lower(value) != "binary" && lower(value) != "8bit")
      throw_invalid("the form's part at byte {} has a transfer encoding", offset);
    if (name != "content-disposition") continue;
    const std::optional<std::string> field = parameter(value, "name");
    if (has_disposition || !lower(value).starts_with("form-data") || !field || field->empty())
      throw_invalid("the form's part at byte {} has no name", offset);
    has_disposition = true;
    part.name = *field;
    part.filename = parameter(value, "filename");
  }
  if (!has_disposition) throw_invalid("the form's part at byte {} has no Content-Disposition", offset);
  return part;
}

}  // namespace

std::vector<FormPart> parse_multipart(std::string_view content_type, std::string_view body) {
  if (!lower(content_type).starts_with("multipart/form-data"))
    throw_invalid("a file is uploaded as multipart/form-data");
  const std::optional<std::string> boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kMaxBoundary)
    throw_invalid("the form's Content-Type has no boundary of 1 to {} characters", kMaxBoundary);
  const std::string first = "--" + *boundary;
  const std::string next = "\r\n" + first;
  if (!body.starts_with(first)) throw_invalid("the form does not begin with its boundary");
  std::vector<FormPart> parts;
  size_t at = first.size();
  while (!body.substr(at).starts_with("--")) {
    if (!body.substr(at).starts_with("\r\n")) throw_invalid("the form has no line end at byte {}", at);
    at += 2;
    if (parts.size() == kMaxParts) throw_invalid("the form has more than {} parts", kMaxParts);
    const size_t head_end = body.find("\r\n\r\n", at);
    if (head_end == std::string_view::npos || head_end - at > kMaxPartHeader)
      throw_invalid("the form's part at byte {} has no end of its header", at);
    FormPart part = read_head(body.substr(at, head_end - at), at);
    const size_t content = head_end + 4;
    // A part without content has its boundary right after the header.
    const size_t end = body.find(next, content - 2);
    if (end == std::string_view::npos) throw_invalid("the form ends within the part at byte {}", at);
    part.content = end < content ? std::string_view() : body.substr(content, end - content);
    parts.push_back(std::move(part));
    at = end + next.size();
  }
  return parts;
}

}  // namespace llmhost::serve
