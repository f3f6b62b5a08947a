// Text of foreign origin in error messages.
#pragma once

#include <string>
#include <string_view>

namespace llmhost::model {

// `text` on one line of printable ASCII and valid UTF-8: other bytes as \xNN, cut after `max_bytes`.
std::string printable(std::string_view text, size_t max_bytes = 100);

bool is_valid_utf8(std::string_view text);

}  // namespace llmhost::model
