// What the chunks of streamed chats and completions have in common.
#pragma once

#include <string>
#include <string_view>

#include "serve/api/generation.h"

namespace llmhost::serve {

// The fields that every chunk begins with, from its opening brace to a comma.
std::string chunk_head(const AnswerFacts& facts, std::string_view object);
// Appends the chunk with the usage, where it was asked for, and the end of the stream. `head` begins a chunk.
void append_stream_end(std::string& out, std::string_view head, const AnswerFacts& facts,
                       const AnswerUsage& usage);

}  // namespace llmhost::serve
