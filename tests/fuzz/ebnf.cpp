// Grammars in the GBNF notation.
#include "fuzz/grammar_steps.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return llmhost::fuzz::try_grammar(llmhost::text::GrammarKind::kEbnf, data, size);
}
