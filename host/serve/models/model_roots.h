// The models below a folder: folders with config.json or GGUF files and single GGUF files, directly in it or
// one level below. Names come from the listing alone, so that no request can name a path.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::serve {

// Name (relative to the root, "folder" or "owner/folder", without .gguf) to path. What leads out of the root
// through a symbolic link is left out, and so are names that could not be asked for. A root that cannot be
// read has no models.
std::map<std::string, std::filesystem::path> find_models(const std::filesystem::path& root);

// Whether one of the folders has an adapter of this name.
bool has_adapter(const std::vector<std::filesystem::path>& roots, std::string_view name);

}  // namespace llmhost::serve
