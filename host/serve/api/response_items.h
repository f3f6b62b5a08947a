// The input of /v1/responses as the messages of a chat.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"

namespace llmhost::serve {

struct Choice;
struct UnknownFields;

// A string or a list of items. Throws ApiError naming the place.
OrderedJson messages_of_input(const OrderedJson& input, const UnknownFields& unknown);
// What the model answered, as a message.
OrderedJson message_of_answer(const Choice& choice);

}  // namespace llmhost::serve
