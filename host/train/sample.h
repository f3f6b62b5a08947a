// What a row of a data set says, whatever form it is written in: a conversation, texts, or tokens. The forms
// are listed at DataFormat (train/dataset.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "train/dataset.h"
#include "train/rows.h"

namespace llmhost::train {

struct Segment {
  std::string text;
  bool is_learnt = true;
};

struct Sample {
  // A conversation, as a server gets it: {role, content, …} with content a text, calls' arguments as JSON
  // text. For each message, whether its text is to be learnt (those of the assistant, unless the row says
  // not).
  OrderedJson messages = OrderedJson::array();
  OrderedJson tools;  // null: none
  std::vector<bool> is_learnt;

  // Otherwise texts that follow each other, …
  std::vector<Segment> segments;
  bool is_document = false;  // one text, to be cut into windows where it is long

  // … or tokens.
  std::vector<int32_t> ids, labels;

  bool is_chat() const { return !messages.empty(); }
  bool is_text() const { return !segments.empty(); }
};

// The form whose fields the row has; kAuto when there is none.
DataFormat recognise(const OrderedJson& fields);

// Throws Error with the row's place and the field: what is missing or wrong, and the fields that are there.
Sample read_sample(const Row& row, DataFormat format);

// "'a', 'b'": the names of a row's fields, for errors.
std::string field_names(const OrderedJson& fields);

}  // namespace llmhost::train
