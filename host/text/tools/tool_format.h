// How a family of models writes tool calls and reasoning, found by what its chat template contains: the
// tables of registry/tools, embedded at build time. [thread-safe]
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llmhost::text {

enum class ToolLayout {
  kNone,     // no known form of tool calls
  kJson,     // JSON with the name and the arguments in it: one object, several, or an array
  kNamed,    // the name as text, then the arguments as one object
  kTagged,   // the name and each argument between tags
  kTree,     // as kTagged, but an argument's tag is its name, and nested values are nested tags
  kPython,   // a list of calls as Python writes them: [f(a=1), g(b="x")]
  kChannel,  // a message to a recipient is a call; its text is the arguments as one object
};

// How a template wants the tools of a request.
enum class ToolPlace {
  kVariable,         // in the variable `tools`
  kSystemKey,        // as text under the key "tools" of the system message
  kFunctionsMessage  // as text of a message of the role "functions" behind the system message
};

// Parts of a reply with a header each: <start>HEADER<head_end>TEXT<ends>.
struct ChannelForm {
  std::vector<std::string> starts;
  std::string head_end;
  std::vector<std::string> ends;
  std::string recipient;               // the mark before the recipient's name; empty: the header is the name
  std::string channel;                 // the mark before the channel's name
  std::vector<std::string> reasoning;  // recipients and channels whose text is reasoning
  std::vector<std::string> content;    // recipients that are no tools
};

struct ToolFormat {
  std::string name;          // the registry's name of the family; empty without a known form of calls
  bool takes_tools = false;  // the template shows the tools of a request to the model
  ToolPlace place = ToolPlace::kVariable;
  bool arguments_as_text = false;  // in earlier messages the template wants arguments as JSON text
  size_t id_length = 0;            // the length that the template wants of a call's id; 0: any
  bool id_names = false;           // the template writes a call's id as its name: <name_prefix>NAME:NUMBER

  ToolLayout layout = ToolLayout::kNone;
  bool bare = false;                    // the reply may begin with calls without any mark before them
  std::string wrap_open, wrap_close;    // around all calls; the marks may be absent in a reply
  std::vector<std::string> call_opens;  // before one call (or one list of calls)
  std::string call_close;
  std::string kind_mark;               // kNamed: a constant between call_open and the name, may be absent
  std::vector<std::string> name_ends;  // kNamed, kTagged, kTree: behind the name
  std::string id_mark;                 // kNamed: between name and name_end, before an id that is left out
  std::string name_head_end;           // kTagged: ends further attributes behind name_end; may be empty
  std::string name_prefix;             // cut from the front of a name
  bool name_number = false;            // ":NUMBER" is cut from the end of a name
  std::string quote;                   // kNamed: a string's quotation mark beside " and '
  bool array = false;                  // kJson: the calls are one array
  std::string name_key = "name", arguments_key = "arguments";  // kJson: how the family writes the keys
  bool fence = false;                                          // kNamed: the arguments stand in a code fence
  std::string call_head;                // kChannel: what a call to {name} begins with behind the prompt
  std::string separator;                // kJson: between the objects of one call
  std::vector<std::string> skip_names;  // calls of these names are left out
  std::string param_open, key_end, head_end,
      param_close;                               // kTagged: <param_open>KEY<key_end>…<head_end>VALUE…
  std::string string_attribute, json_attribute;  // kTagged: what attributes say of a value's type
  std::string tag_mark;                          // kTree: before each tag

  std::string reasoning_open, reasoning_close;  // empty: the model writes no reasoning
  bool reasoning_anywhere = false;              // not only at the reply's beginning
  std::vector<std::string> drops;               // marks that are no content
  ChannelForm channels;                         // used where starts is not empty

  bool has_calls() const { return layout != ToolLayout::kNone; }
  // Every mark above, and the tokens that marks are made of: special tokens among them must be kept in the
  // text that a parser is given.
  std::vector<std::string> marks() const;
};

// The form that the template's text asks for. Without a known one: has_calls() is false, reasoning marks may
// still be there.
ToolFormat find_tool_format(std::string_view template_text);

// The families of the registry, in the order in which they are tried.
std::vector<std::string> tool_format_names();
ToolFormat named_tool_format(std::string_view name);  // throws llmhost::Error for an unknown name

}  // namespace llmhost::text
