#include "cli/chat_input.h"

#include <string_view>

namespace llmhost::cli {
namespace {

constexpr const char* kPrompt = ">>> ";
constexpr const char* kMorePrompt = "... ";
constexpr std::string_view kQuotes = "\"\"\"";

// The rest of a block; `block` holds what follows the opening quotes on their line.
InputEvent read_block(const LineSource& source, std::string block, std::string& message) {
  bool is_first = block.empty();  // the line of the quotes adds no empty line
  while (!block.ends_with(kQuotes)) {
    std::string line;
    const InputEvent event = source(kMorePrompt, line);
    if (event != InputEvent::kText) return event;
    if (!is_first) block += '\n';
    block += line;
    is_first = false;
  }
  block.resize(block.size() - kQuotes.size());
  if (block.ends_with('\n')) block.pop_back();
  message = std::move(block);
  return InputEvent::kText;
}

}  // namespace

InputEvent read_message(const LineSource& source, std::string& message) {
  message.clear();
  std::string line;
  InputEvent event = source(kPrompt, line);
  if (event != InputEvent::kText) return event;
  if (line.starts_with(kQuotes)) return read_block(source, line.substr(kQuotes.size()), message);
  while (line.ends_with('\\')) {
    line.back() = '\n';
    message += line;
    line.clear();
    event = source(kMorePrompt, line);
    if (event != InputEvent::kText) return event;
  }
  message += line;
  return InputEvent::kText;
}

}  // namespace llmhost::cli
