// Conversations as data sets write them, made into messages as a server has them (serve/api/messages.h): the
// same text for the template, whichever way it came.
#pragma once

#include <string>
#include <string_view>

#include "core/json.h"
#include "train/sample.h"

namespace llmhost::train {

// Appends to sample.messages. `where` begins errors ("data.jsonl:17: messages"). In a turn, role and content
// may also be called from and value, with the names for roles that go with them.
void add_messages(const OrderedJson& list, const std::string& where, Sample& sample);
void add_message(std::string_view role, std::string content, bool is_learnt, Sample& sample);

// A list, or its JSON text; null where there are none.
OrderedJson read_tools(const OrderedJson& value, const std::string& where);

// `value`, or what it says where it is a text of JSON (a cell of a CSV file).
OrderedJson unquoted(const OrderedJson& value, const std::string& where);

}  // namespace llmhost::train
