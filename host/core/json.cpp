#include "core/json.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace llmhost {
namespace {

constexpr size_t kMaxReasonBytes = 200;  // the library quotes the whole token that it stumbled over

// The library's parser keeps its own stack, but everything that walks the result recurses: bound the depth
// before. (A parser callback could do it, but makes parsing quadratic in the length of arrays.)
void check_depth(std::string_view text, std::string_view source, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > max_depth) throw_invalid("{}: JSON nested deeper than {} levels", source, max_depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

template <typename J>
J parse(std::string_view text, std::string_view source, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    throw_invalid("{}: {} bytes of JSON, the limit is {}", source, text.size(), limits.max_bytes);
  check_depth(text, source, limits.max_depth);
  // The library's number of the error says nothing, nor does the line of a text of one line, which may be a
  // line of a file. What is quoted may be cut in two or be no UTF-8 at all.
  const auto reason = [&](const std::exception& e) {
    std::string_view whole = e.what();
    whole.remove_prefix(std::min(whole.find("] ") + 2, whole.size()));
    const bool has_lines = text.find('\n') != std::string_view::npos;
    if (!has_lines && whole.starts_with("parse error at "))
      whole.remove_prefix(std::min(whole.find(": ") + 2, whole.size()));
    std::string what(whole.substr(0, kMaxReasonBytes));
    for (char& c : what)
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    return what;
  };
  try {
    return J::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& e) {
    throw_invalid("{}: not valid JSON at byte {}: {}", source, e.byte, reason(e));
  } catch (const nlohmann::json::exception& e) {
    throw_invalid("{}: not valid JSON: {}", source, reason(e));
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits) {
  return parse<Json>(text, source, limits);
}

OrderedJson parse_ordered_json(std::string_view text, std::string_view source, const JsonLimits& limits) {
  return parse<OrderedJson>(text, source, limits);
}

Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
  return parse_json(read_file(path, limits.max_bytes), path.string(), limits);
}

}  // namespace llmhost
