// The tokenizer metadata of a GGUF file, checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/gguf.h"
#include "text/tokenizer_vocab.h"

namespace llmhost::text {

enum class GgufTokenType : uint8_t { kUndefined, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct GgufVocab {
  std::string source;  // the file's path
  std::string model;   // tokenizer.ggml.model
  std::string pre;     // tokenizer.ggml.pre; "default" when absent
  std::string name;    // general.name, lower case
  Vocab pieces;
  std::vector<GgufTokenType> types;  // by id
  std::vector<float> scores;         // by id; all 0 when the file has none
  std::optional<int32_t> bos, eos, eot, pad, unk, separator;
  std::optional<bool> add_bos, add_eos, add_separator, add_space_prefix;
};

GgufVocab read_gguf_vocab(const model::GgufFile& file);

}  // namespace llmhost::text
