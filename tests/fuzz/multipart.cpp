// The first line is the Content-Type, the rest the body.
#include "serve/tuning/multipart.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(text.find('\n'), text.size());
  const std::string_view body = text.substr(std::min(line + 1, text.size()));
  try {
    for (const auto& part : llmhost::serve::parse_multipart(text.substr(0, line), body)) {
      if (part.name.empty()) std::abort();
      const bool is_inside =
          part.content.empty() || (part.content.data() >= body.data() &&
                                   part.content.data() + part.content.size() <= body.data() + body.size());
      if (!is_inside) std::abort();
    }
  } catch (const llmhost::Error&) {
  }
  return 0;
}
