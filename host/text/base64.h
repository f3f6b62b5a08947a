// Base64 with the standard alphabet.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace llmhost::text {

// Absent when the text is not base64; padding may be missing.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace llmhost::text
