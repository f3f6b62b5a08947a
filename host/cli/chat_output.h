// Answers on standard output, as they come; what is said about them on standard error.
#pragma once

#include <string>
#include <string_view>

#include "cli/chat_model.h"
#include "core/json.h"

namespace llmhost::cli {

// A reader that has gone (a closed pipe) is no error: write() says so, and nothing more is written.
class StandardOutput {
 public:
  // False when nobody reads. Throws kDataLoss for any other failure.
  bool write(std::string_view text);
  // Ends the line that the text left open.
  void end_line();

 private:
  bool is_open_ = true;
  bool at_line_start_ = true;
};

struct AnswerReport {
  const Prompt& prompt;
  const Answer& answer;
  double load_s = 0;
  std::vector<std::string> warnings = {};  // of the loaded model
};

// "prompt 12 tokens, 310.2 tok/s; answer 40 tokens, 95.1 tok/s; first token after 0.31 s (0.27 s loading)"
std::string describe(const AnswerReport& report);
OrderedJson to_json(const AnswerReport& report, bool with_prompt);
// Text and ids, a line each; both as JSON, so that nothing is lost.
std::string describe(const Prompt& prompt);

}  // namespace llmhost::cli
