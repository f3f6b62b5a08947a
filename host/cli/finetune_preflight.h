// What `llmhost finetune` shows before it begins: the run in a table, and what of the data is trained on.
#pragma once

#include <cstdint>

#include "text/tokenizer.h"
#include "train/job.h"
#include "train/trainer.h"

namespace llmhost::cli {

// To standard error. Throws kFailedPrecondition when no token is trained on.
void print_preflight(const train::Job& job, const train::Trainer::Summary& summary,
                     const text::Tokenizer* tokenizer);

// One example as text, its trained tokens in colour on a terminal, else in [[ ]]; cut in the middle when it
// is long.
std::string masked_text(const train::Example& example, const text::Tokenizer& tokenizer, bool in_colour);

}  // namespace llmhost::cli
