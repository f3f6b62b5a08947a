// What fuzz targets of grammars do with one.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"
#include "text/grammar/grammar.h"

namespace llmhost::fuzz {

// Compiles a source and writes a few bytes, each of which the mask allows; where nothing is allowed the text
// must be complete.
inline int try_grammar(text::GrammarKind kind, const uint8_t* data, size_t size) {
  static const auto vocabulary = [] {
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    for (const char* token : {"{\"", "\":", "\", ", "ab", "12", "[]", "}}"}) tokens.emplace_back(token);
    return std::make_shared<const text::TokenVocabulary>(tokens);
  }();
  try {
    const auto grammar = text::compile_grammar({kind, std::string(reinterpret_cast<const char*>(data), size)},
                                               {.max_states = 20'000, .max_milliseconds = 1000});
    const auto matcher = text::make_matcher(grammar, vocabulary, {});
    uint32_t random = static_cast<uint32_t>(size) * 2654435761U + 1;
    for (int step = 0; step < 24 && !matcher->is_complete(); ++step) {
      std::vector<uint64_t> mask(5);
      matcher->allowed(mask);
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < vocabulary->size(); ++id)
        if ((mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0) allowed.push_back(id);
      if (allowed.empty()) std::abort();  // every byte is a token
      random = random * 1664525U + 1013904223U;
      matcher->accept(allowed[(random >> 8) % allowed.size()]);
    }
  } catch (const Error&) {
    return 0;
  }
  return 0;
}

}  // namespace llmhost::fuzz
