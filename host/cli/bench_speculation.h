// The rows of `llmhost bench` about speculative decoding: greedy generation through engine and sampler, with
// and without proposals, of a text that repeats itself and of ordinary prose.
#pragma once

#include <cstdint>

#include "cli/speculation.h"
#include "core/json.h"
#include "text/tokenizer.h"

namespace llmhost::cli {

// Positions that the prompts of these tests take, at most.
inline constexpr int64_t kSpeculationPrompt = 256;

// A row {test, tokens_per_s, samples, drafted, accepted, steps} for each text, without and with speculation.
// Each generates `tokens` tokens, at least 2, `repeat` times.
OrderedJson bench_speculation(OpenedModel& opened, Speculation& speculation, const text::Tokenizer& tokenizer,
                              int64_t tokens, int64_t repeat);

}  // namespace llmhost::cli
