// Whether a file can have been put there only by this user or the administrator: code is loaded from nowhere
// else.
#pragma once

#include <filesystem>
#include <string>

namespace llmhost::plugin {

// Why `file` or a folder above it could have been changed by another user; empty: it could not. A folder
// further up with the sticky bit (as /tmp has) counts as safe, since others cannot replace what it holds; the
// folder that holds the file does not. Symbolic links are judged at both ends.
std::string insecure_reason(const std::filesystem::path& file);

}  // namespace llmhost::plugin
