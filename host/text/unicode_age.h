// Which Unicode version brought a character. Tokenizers carry the Unicode tables of the year they were
// written in: to them, later characters are unassigned. [thread-safe]
#pragma once

namespace llmhost::text {

// For versions 8 to 14: whether the character was added after that version.
bool is_newer_than(char32_t c, int unicode_version);

}  // namespace llmhost::text
