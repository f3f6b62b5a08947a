// Any bytes as a tokenizer.json; if they load, a text is encoded and decoded.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "text/tokenizer.h"
#include "text/tokenizer_utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace llmhost::text;
  try {
    const auto tokenizer = load_tokenizer_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const auto ids =
        tokenizer->encode("Hello  w\xC3\xB6rld 123 \xF0\x9F\x98\x80\xFF <s>ab\n", {.add_special = true});
    if (!is_valid_utf8(tokenizer->decode(ids))) std::abort();
  } catch (const llmhost::Error&) {
    // refused, as damaged files must be
  }
  return 0;
}
