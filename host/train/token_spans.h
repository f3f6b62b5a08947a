// Tokens of a text of which parts are learnt: the ids that the tokenizer gives the whole text, and which of
// them the parts are made of. Where a learnt part begins inside a token of the whole text, the text is cut
// there, as it is when a server has encoded the prompt and the model goes on; where one ends inside a token,
// that token is learnt.
#pragma once

#include <span>
#include <string_view>

#include "text/template/template.h"
#include "text/tokenizer.h"
#include "train/example.h"

namespace llmhost::train {

using text::jinja::TextSpan;

// `learnt` ascends and does not overlap. No special tokens are added; those written in the text are read.
// Throws Error, without a place, where a part's beginning cannot be told from the tokens.
Example encode_spans(const text::Tokenizer& tokenizer, std::string_view text,
                     std::span<const TextSpan> learnt);

}  // namespace llmhost::train
