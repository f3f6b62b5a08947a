// Whether two models read the same token ids: what a draft model needs.
#pragma once

#include <string_view>

#include "text/tokenizer.h"

namespace llmhost::text {

// Throws kInvalidArgument naming the first difference. The larger vocabulary may have some ids more at its
// end (padding, added tokens).
void require_same_vocabulary(const Tokenizer& a, std::string_view name_a, const Tokenizer& b,
                             std::string_view name_b);

}  // namespace llmhost::text
