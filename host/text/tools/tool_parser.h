// Turns what a model writes, as it comes, into content, reasoning and tool calls. A reply in pieces gives
// what the whole reply gives, wherever it was cut. A call is told when its name and the beginning of its
// first argument are there, and its arguments as they come: JSON text of an object. A call that is damaged or
// cut off behind that ends there, its arguments are no whole object then; what looks like a call and comes
// not that far is content.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tools/tool_format.h"

namespace llmhost::text {

struct ToolDefinition {
  std::string name;
  std::string parameters;  // JSON text of the schema; empty: none
};

struct ToolDelta {
  enum class Kind { kContent, kReasoning, kCallBegin, kArguments };
  Kind kind = Kind::kContent;
  std::string text;  // kContent, kReasoning, kArguments
  size_t index = 0;  // kCallBegin, kArguments: which call
  std::string id;    // kCallBegin
  std::string name;  // kCallBegin
};

struct ToolParserOptions {
  std::vector<ToolDefinition> tools;
  bool calls = true;      // false: text that looks like a call is content (no tools, tool_choice "none")
  bool reasoning = true;  // false: reasoning stays in the content, with its marks
  std::string id_seed;    // ids are a function of this and the call's index
  // The prompt's text, or its last few hundred bytes: templates begin the reply themselves (<think>).
  std::string prompt_tail;
  // Text of the reply that the model did not write: behind the prompt, and behind the reply (ForcedCalls).
  std::string prefill, suffix;
};

// How a reply ends. One that was cut off has no suffix.
enum class ReplyEnd { kWhole, kCut };

class ToolParser {
 public:
  // Throws llmhost::Error where a tool's schema is no JSON object.
  ToolParser(ToolFormat format, ToolParserOptions options);
  ~ToolParser();
  ToolParser(ToolParser&&) noexcept;
  ToolParser& operator=(ToolParser&&) noexcept;

  // `text` may end inside a character. Special tokens that are marks of the format must be in it as text.
  std::vector<ToolDelta> push(std::string_view text);
  std::vector<ToolDelta> finish(ReplyEnd end = ReplyEnd::kWhole);
  size_t calls() const;  // told so far

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct ParsedCall {
  std::string id, name, arguments;
  bool operator==(const ParsedCall&) const = default;
};

struct ParsedReply {
  std::string content, reasoning;
  std::vector<ParsedCall> calls;
  void add(const ToolDelta& delta);
  bool operator==(const ParsedReply&) const = default;
};

ParsedReply parse_reply(const ToolFormat& format, const ToolParserOptions& options, std::string_view text,
                        ReplyEnd end = ReplyEnd::kWhole);

}  // namespace llmhost::text
