// JSON of adapter configs: keys in the order of the file, bounded, no key twice. Throws llmh::Error.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace peft {

using OrderedJson = nlohmann::ordered_json;

OrderedJson parse_json(std::string_view text, std::string_view source);

// The value for an error message, cut when it is long.
std::string shown(const OrderedJson& value);

}  // namespace peft
