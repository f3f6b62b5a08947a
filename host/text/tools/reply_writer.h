// Collects the deltas of a reply. White space around reasoning and calls is no content: white space is held
// back until what comes behind it is known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tools/call_reader.h"
#include "text/tools/tool_parser.h"

namespace llmhost::text {

class ReplyWriter {
 public:
  explicit ReplyWriter(std::string id_seed) : id_seed_(std::move(id_seed)) {}

  void content(std::string_view text);
  void reasoning(std::string_view text);
  void end_reasoning();
  // What is known of a call by now: the next one, or more of the last one.
  void call(size_t index, const FoundCall& call);
  // A mark that is not content was left out.
  void dropped() { marked_ = true; }
  void finish();

  bool has_content() const { return has_content_; }
  size_t calls() const { return calls_; }
  std::vector<ToolDelta> take();

 private:
  void append(ToolDelta::Kind kind, std::string_view text);

  std::string id_seed_;
  std::vector<ToolDelta> deltas_;
  std::string content_space_, reasoning_space_;
  bool has_content_ = false;
  bool has_reasoning_ = false;
  bool marked_ = false;  // something came that was not content: white space in front of content is left out
  size_t calls_ = 0;
  size_t told_ = 0;  // bytes of the last call's arguments
};

}  // namespace llmhost::text
