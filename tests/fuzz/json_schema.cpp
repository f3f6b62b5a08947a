// JSON schemas: compiled or refused within the limits, and followed for a few bytes.
#include "fuzz/grammar_steps.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return llmhost::fuzz::try_grammar(llmhost::text::GrammarKind::kJsonSchema, data, size);
}
