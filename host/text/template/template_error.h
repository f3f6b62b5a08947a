// Why a template could not be read or rendered. For raise_exception(message) the message is the template's
// own, exactly; every other message is one line with the template's name, line and column.
#pragma once

#include <string>

#include "core/error.h"

namespace llmhost::text::jinja {

class TemplateError : public Error {
 public:
  TemplateError(const std::string& message, bool raised)
      : Error(ErrorCode::kInvalidArgument, message), raised_(raised) {}
  bool raised() const { return raised_; }  // by the template's raise_exception

 private:
  bool raised_;
};

// A failure at a byte of the source; becomes a TemplateError when the template's name and lines are known.
class PlacedFault : public std::runtime_error {
 public:
  PlacedFault(const std::string& message, size_t offset) : std::runtime_error(message), offset_(offset) {}
  size_t offset() const { return offset_; }

 private:
  size_t offset_;
};

[[noreturn]] inline void fail_at(size_t offset, const std::string& message) {
  throw PlacedFault(message, offset);
}

}  // namespace llmhost::text::jinja
