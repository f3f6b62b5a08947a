// The data files of the project, registry/<subject>/<name>.yaml, embedded at build time. [thread-safe]
#pragma once

#include <span>
#include <string_view>

namespace llmhost {

struct RegistryFile {
  std::string_view subject;
  std::string_view name;
  std::string_view text;
};

// By subject, then by name.
std::span<const RegistryFile> registry_files();

}  // namespace llmhost
