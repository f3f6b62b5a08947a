// Messages for strangers: where things are is nobody's business.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace llmhost::serve {

// Absolute paths cut down to their last part.
std::string without_paths(std::string_view message);
// The path of the model `id` first replaced by its name.
std::string without_paths(std::string message, const std::filesystem::path& path, std::string_view id);

}  // namespace llmhost::serve
