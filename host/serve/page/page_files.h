// The web page: the files of host/serve/page/files, embedded at build time. [thread-safe]
#pragma once

#include <span>
#include <string_view>

namespace llmhost::serve {

struct PageFile {
  std::string_view path;  // "/" is the page, "/page/NAME" are its parts
  std::string_view content_type;
  std::string_view bytes;
};

std::span<const PageFile> page_files();

// The Content-Security-Policy that the page works under: nothing but its own files and its own server.
std::string_view page_policy();

}  // namespace llmhost::serve
