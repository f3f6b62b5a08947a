// The source languages of grammars, each read into rules.
#pragma once

#include <string_view>

#include "text/grammar/expression.h"

namespace llmhost::text::grammar {

RuleSet read_json_object();
RuleSet read_json_schema(std::string_view text, Budget& budget);
RuleSet read_choices(std::string_view text, Budget& budget);
RuleSet read_ebnf(std::string_view text, Budget& budget);

// Of the whole text, or of any text that holds a match.
enum class RegexMatch { kWhole, kAnywhere };
// Without rules. `source` names it in errors.
Expr read_regex(std::string_view pattern, RegexMatch match, std::string_view source);

}  // namespace llmhost::text::grammar
