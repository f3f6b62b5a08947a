// JSON from foreign bytes, with limits on size and depth, and errors that name the source and the byte
// offset.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace llmhost {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of keys, as templates and outputs need

struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  int max_depth = 256;
};

// `source` names the input in errors (a path, "request body").
Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits = {});
OrderedJson parse_ordered_json(std::string_view text, std::string_view source, const JsonLimits& limits = {});

Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

}  // namespace llmhost
