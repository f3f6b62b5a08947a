// What a person types: lines with editing and history on a terminal, put together to messages. A line that
// ends with a backslash goes on in the next; """ begins and ends a block of lines.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace llmhost::cli {

enum class InputEvent {
  kText,
  kInterrupt,  // Ctrl-C: what was typed is dropped
  kEnd         // Ctrl-D on an empty line
};

// Reads one line, without its end, after showing the prompt.
using LineSource = std::function<InputEvent(const char* prompt, std::string& line)>;

// One message: a line, or several after the rules above.
InputEvent read_message(const LineSource& source, std::string& message);

// The terminal. The history lives in `history_file`, written when the object goes.
class Console {
 public:
  explicit Console(std::filesystem::path history_file);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  InputEvent read_line(const char* prompt, std::string& line);

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;
};

}  // namespace llmhost::cli
