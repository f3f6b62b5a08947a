#include "core/json.h"

#include "core/error.h"
#include "core/file.h"

namespace llmhost {
namespace {

template <typename J>
J parse(std::string_view text, std::string_view source, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    throw_invalid("{}: {} bytes of JSON, the limit is {}", source, text.size(), limits.max_bytes);
  // The library's parser keeps its own stack, but everything that walks the result recurses: bound the depth
  // here.
  const auto check_depth = [&](int depth, typename J::parse_event_t, J&) {
    if (depth > limits.max_depth)
      throw_invalid("{}: JSON nested deeper than {} levels", source, limits.max_depth);
    return true;
  };
  try {
    return J::parse(text.begin(), text.end(), check_depth);
  } catch (const nlohmann::json::parse_error& e) {
    throw_invalid("{}: not valid JSON at byte {}: {}", source, e.byte, e.what());
  } catch (const nlohmann::json::exception& e) {
    throw_invalid("{}: not valid JSON: {}", source, e.what());
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
