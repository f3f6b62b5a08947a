// Foreign request bodies, measured before they are built: depth, keys of an object, values, and the length of
// each field as the table of parameters allows it. A list that is too long costs no more than reading its
// beginning.
#pragma once

#include <string_view>

#include "core/json.h"
#include "serve/api/parameters.h"

namespace llmhost::serve {

// Throws ApiError (400), naming the field where one is at fault. Never quotes the body.
OrderedJson parse_request_body(Body body, std::string_view text);

}  // namespace llmhost::serve
