#include "serve/models/without_paths.h"

namespace llmhost::serve {
namespace {

bool ends_path(char c) {
  return std::string_view(" \t\n\r\v\f'\",;:()[]").find(c) != std::string_view::npos;
}

}  // namespace

std::string without_paths(std::string_view message) {
  std::string out;
  for (size_t i = 0; i < message.size();) {
    size_t end = i + 1;
    if (message[i] == '/' && (i == 0 || ends_path(message[i - 1]) || message[i - 1] == '=')) {
      while (end < message.size() && !ends_path(message[end])) ++end;
      if (end > i + 1) i = message.rfind('/', end - 1) + 1;  // a '/' alone is none
    }
    out += message.substr(i, end - i);
    i = end;
  }
  return out;
}

std::string without_paths(std::string message, const std::filesystem::path& path, std::string_view id) {
  for (const std::string& known :
       {path.string(), std::filesystem::absolute(path).lexically_normal().string()})
    for (size_t at = 0; !known.empty() && (at = message.find(known, at)) != std::string::npos;
         at += id.size())
      message.replace(at, known.size(), id);
  return without_paths(std::string_view(message));
}

}  // namespace llmhost::serve
