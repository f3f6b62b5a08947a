// The clean-up that some GGUF vocabularies ask for: no space before ? ! . , and before 's 'm 're 've, none
// around a lone apostrophe. Works on a stream; what a later byte can still change waits.
#pragma once

#include <string>
#include <string_view>

namespace llmhost::text {

class CleanSpaces {
 public:
  void push(std::string_view text, std::string& out);
  void finish(std::string& out);

 private:
  void run(std::string_view text, bool end, std::string& out);
  std::string held_[3];  // one for each rule: they run one after the other over the whole text
};

}  // namespace llmhost::text
