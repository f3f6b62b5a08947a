// A SentencePiece model in the form that GGUF files have.
#pragma once

#include <filesystem>

#include "text/gguf_export.h"

namespace llmhost::text {

// `file`: the .model file of a folder that has no tokenizer.json. Throws kUnimplemented for one that GGUF
// files have no form for.
GgufTokenizer gguf_from_sentencepiece(const std::filesystem::path& file, int64_t rows);

}  // namespace llmhost::text
