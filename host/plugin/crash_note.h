// Names the plugin that brings the process down while it is loaded or initialised.
#pragma once

#include <string_view>

namespace llmhost::plugin {

// While one lives, a fatal signal on this thread first writes "llmhost: plugin <id> (<path>) crashed while
// being loaded" to standard error and then takes its usual course. One at a time in the process.
class CrashNote {
 public:
  CrashNote(std::string_view id, std::string_view path);
  ~CrashNote();
  CrashNote(const CrashNote&) = delete;
  CrashNote& operator=(const CrashNote&) = delete;
};

}  // namespace llmhost::plugin
