// What rules which tokens a request may choose.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/token_constraint.h"
#include "serve/models/served_model.h"
#include "text/grammar/grammar.h"

namespace llmhost::serve {

// Null when nothing is ruled. Before `min_tokens` no stop token may be chosen.
std::unique_ptr<engine::TokenConstraint> make_constraint(const ServedModel& model,
                                                         const std::shared_ptr<const text::Grammar>& grammar,
                                                         int64_t min_tokens,
                                                         const std::vector<int32_t>& stop_tokens);

}  // namespace llmhost::serve
