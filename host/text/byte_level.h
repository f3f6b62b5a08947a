// The byte-level alphabet: each byte is written as one printable character (GPT-2's table), so that a
// vocabulary of strings can hold any bytes. [thread-safe]
#pragma once

#include <string>
#include <string_view>

namespace llmhost::text {

std::string bytes_to_characters(std::string_view bytes);
void append_bytes_as_characters(std::string_view bytes, std::string& out);
// Appends the bytes that `piece` stands for and returns true; false (nothing appended) when it has other
// characters.
bool append_characters_as_bytes(std::string_view piece, std::string& out);

}  // namespace llmhost::text
