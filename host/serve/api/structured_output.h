// What a request says of its answer's form, as a grammar. A form that cannot be kept to is an error before
// anything runs.
#pragma once

#include <memory>
#include <optional>

#include "serve/api/context.h"
#include "serve/api/parameters.h"
#include "serve/models/served_model.h"
#include "text/grammar/grammar.h"

namespace llmhost::serve {

// Of response_format, structured_outputs, guided_…, grammar; at most one of them. None: free text.
std::optional<text::GrammarSpec> answer_form(const CheckedBody& checked);
// Of "text.format" of a response.
std::optional<text::GrammarSpec> response_text_form(const CheckedBody& checked);
// Of "response_format" of /generate.
std::optional<text::GrammarSpec> generate_form(const CheckedBody& checked);

// Null for free text. Throws ApiError (400) naming `field` for a form that is refused.
std::shared_ptr<const text::Grammar> compile_form(const std::optional<text::GrammarSpec>& spec,
                                                  text::GrammarCache& cache, std::string_view field);

}  // namespace llmhost::serve
