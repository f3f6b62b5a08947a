// Bodies of type multipart/form-data (RFC 7578), as clients upload files in them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::serve {

// Views point into the body.
struct FormPart {
  std::string name;
  std::optional<std::string> filename;  // of a file
  std::string_view content;
};

// `content_type` is the request's header. Throws Error (kInvalidArgument) with what is wrong and the byte
// where; a body has at most 64 parts.
std::vector<FormPart> parse_multipart(std::string_view content_type, std::string_view body);

}  // namespace llmhost::serve
