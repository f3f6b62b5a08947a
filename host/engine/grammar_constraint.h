// A request's grammar as the sampler asks for it.
#pragma once

#include <memory>
#include <vector>

#include "engine/token_constraint.h"
#include "text/grammar/grammar.h"

namespace llmhost::engine {

// `stop_tokens` are those of the request: they are allowed where the text may end, and nowhere else.
std::unique_ptr<TokenConstraint> make_grammar_constraint(
    std::shared_ptr<const text::Grammar> grammar, std::shared_ptr<const text::TokenVocabulary> vocabulary,
    std::vector<int32_t> stop_tokens);

}  // namespace llmhost::engine
