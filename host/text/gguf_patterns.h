// Which of the known patterns (registry/tokenizers/gguf.yaml) cut text as a pre-tokenizer does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace llmhost::text {

struct CutBy {
  const PreTokenizer* own = nullptr;  // null: a text is one piece
  bool maps_bytes = false;            // its pieces are in the byte-level alphabet already
  bool ignores_merges = false;        // what else the patterns stand for
  std::optional<bool> cleans_spaces = std::nullopt;
};

struct GgufPatterns {
  std::string name;
  std::vector<std::string> cut_differently;  // of the texts; empty: all are cut alike
};

// The name that the converter of llama.cpp writes for a tokenizer that it knows; empty for another.
std::string known_gguf_patterns(const Tokenizer& tokenizer);

// The nearest. Of several that are as near the usual ones come first, among these the one that cleans spaces
// alike.
GgufPatterns find_gguf_patterns(const CutBy& cut, const std::vector<std::string>& texts);

// The texts that known patterns cut differently. Throws UsageError for a name that is not known.
std::vector<std::string> cut_differently(const CutBy& cut, const std::string& name,
                                         const std::vector<std::string>& texts);

}  // namespace llmhost::text
