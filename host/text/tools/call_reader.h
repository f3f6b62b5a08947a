// Reads the calls of one block: what stands from a mark that opens calls to where they end.
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
  std::string arguments;  // JSON text of an object
};

// Reads from reader.at, which is at a mark that opens calls, or (bare) at the first visible character of the
// reply. kYes: reader.at is behind the block. kNo: no sound call stands here.
Got read_calls(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader,
               std::vector<FoundCall>& calls);

// JSON text of an object from what a model gave as a call's arguments; false where it is none.
bool settle_arguments(std::string& json);

// One form each, used by read_calls; reader.at is behind the call's opening mark.
Got read_json_calls(const ToolFormat& format, MarkReader& reader, std::vector<FoundCall>& calls);
Got read_named_call(const ToolFormat& format, MarkReader& reader, FoundCall& call);
Got read_tagged_call(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader, FoundCall& call);
Got read_tree_call(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader, FoundCall& call);
Got read_python_calls(const ToolFormat& format, const ToolSchemas& tools, MarkReader& reader,
                      std::vector<FoundCall>& calls);

// The marks of a code fence, where one stands.
Got skip_fence(MarkReader& reader);
// Cuts what a format adds to names; false where no name is left.
bool settle_name(const ToolFormat& format, std::string& name);

}  // namespace llmhost::text
