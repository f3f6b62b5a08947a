// Whether a file can have been put there only by this user or the administrator: code is loaded from nowhere
// else.
#pragma once

#include <filesystem>
#include <string>

namespace llmhost::plugin {

// Why `file` or a folder above it could have been changed by another user; empty: it could not. A folder
// further up with the sticky bit (as /tmp has) counts as safe, since others cannot replace what it holds; the
// folder that holds the file does not. Symbolic links are judged at both ends.
//
// With the path of the running program, for what is installed beside it: those who may write to the program
// are trusted with its plugins too (a checkout that a container sees as another user's, a umask of 002).
std::string insecure_reason(const std::filesystem::path& file, const std::filesystem::path& program = {});

}  // namespace llmhost::plugin
