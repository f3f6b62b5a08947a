// JSON of adapter configs: keys in the order of the file, bounded. Throws llmh::Error.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace peft {

using OrderedJson = nlohmann::ordered_json;

enum class EqualKeys { kRefused, kTaken };
OrderedJson parse_json(std::string_view text, std::string_view source,
                       EqualKeys equal_keys = EqualKeys::kRefused);

// The value for an error message, cut when it is long.
std::string shown(const OrderedJson& value);

}  // namespace peft
