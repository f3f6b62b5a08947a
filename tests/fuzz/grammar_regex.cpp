// Regular expressions of structured output.
#include "fuzz/grammar_steps.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return llmhost::fuzz::try_grammar(llmhost::text::GrammarKind::kRegex, data, size);
}
