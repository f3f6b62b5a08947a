// Where the program keeps its files, after the XDG base directory rules: an environment variable that is not
// an absolute path is ignored, as those rules say. Nothing here creates a folder.
#pragma once

#include <filesystem>

namespace llmhost {

// $LLMHOST_CACHE, else $XDG_CACHE_HOME/llmhost, else ~/.cache/llmhost: may be deleted at any time.
std::filesystem::path cache_dir();

// $XDG_DATA_HOME/llmhost, else ~/.local/share/llmhost: installed plugins and what a user would miss.
std::filesystem::path data_dir();

// $XDG_CONFIG_HOME/llmhost, else ~/.config/llmhost.
std::filesystem::path config_dir();

// The running program and its folder, symbolic links resolved.
std::filesystem::path executable_path();
std::filesystem::path executable_dir();

}  // namespace llmhost
