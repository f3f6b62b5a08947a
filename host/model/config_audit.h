// Which config keys may be left unread: bookkeeping, training and generation settings that do not change the
// logits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llmhost::model {

// True for a dotted key that has no part in a forward pass of any model.
bool is_bookkeeping_key(std::string_view key);

// `keys` without the bookkeeping ones.
std::vector<std::string> keys_that_matter(std::vector<std::string> keys);

}  // namespace llmhost::model
