// Runs the records of a vectors.jsonl (tests/data/tokenizers/README.md) against a tokenizer.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace llmhost::test {

struct VectorResult {
  size_t records = 0;
  std::vector<std::string> failures;  // one line each
};

// Checks ids, decoded text, and that streaming gives the decoded text in whole characters.
VectorResult run_vectors(const text::Tokenizer& tokenizer, const std::filesystem::path& vectors);

}  // namespace llmhost::test
