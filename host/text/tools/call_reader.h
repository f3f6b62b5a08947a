// Reads the calls of one block: what stands from a mark that opens calls to where they end. A block is read
// again as it grows; what a call has of arguments only ever becomes longer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tools/mark_reader.h"
#include "text/tools/tool_format.h"
#include "text/tools/tool_schema.h"

namespace llmhost::text {

struct FoundCall {
  std::string name;
  std::string arguments;  // JSON text of an object, or how it begins
  bool sure = false;      // this is a call, whatever comes

  // Something of the arguments is known: from here on it is told, and stays a call.
  bool is_told() const { return sure && arguments.size() > 1; }
};

// Reads from reader.at, which is at a mark that opens calls, or (bare) at the first visible character of the
// reply. kYes: reader.at is behind the block. kNo: the calls that are told stand in front of reader.at, the
// last of them may be damaged there; without any, no sound call stands here.
Got read_calls(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader,
               std::vector<FoundCall>& calls);

// JSON text of an object from what a model gave as a call's arguments; false where it is none.
bool settle_arguments(std::string& json);

// What the readers of the forms know.
struct CallForm {
  const ToolFormat& format;
  const ToolSchemas& tools;
  bool unmarked = false;  // no mark stands in front: the names of tools alone make calls

  // Calls of these names are read and left out.
  bool is_hidden(std::string_view name) const;
  bool makes_call(std::string_view name) const;
};

// One form each, used by read_calls; reader.at is behind the call's opening mark.
Got read_json_calls(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls);
Got read_named_call(const CallForm& form, MarkReader& reader, FoundCall& call);
Got read_tagged_call(const CallForm& form, MarkReader& reader, FoundCall& call);
Got read_tree_call(const CallForm& form, MarkReader& reader, FoundCall& call);
Got read_python_calls(const CallForm& form, MarkReader& reader, std::vector<FoundCall>& calls);

// Behind an attempt to read one more call at `reader`, which has come to `ahead` with `got`: a call that is
// not told is dropped when it is none, and the reader is where the text that is no call begins.
Got settle_attempt(Got got, size_t calls_before, const MarkReader& ahead, MarkReader& reader,
                   std::vector<FoundCall>& calls);

// The marks of a code fence, where one stands.
Got skip_fence(MarkReader& reader);
// Cuts what a format adds to names; false where no name is left.
bool settle_name(const ToolFormat& format, std::string& name);

}  // namespace llmhost::text
