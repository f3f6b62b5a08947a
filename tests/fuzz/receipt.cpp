// receipt.json of an adapter's folder: parsed, compared, and written again as the same.
#include "engine/receipt.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const llmhost::engine::Receipt receipt = llmhost::engine::parse_receipt(text);
    const std::string again = llmhost::engine::to_json(receipt);
    if (llmhost::engine::to_json(llmhost::engine::parse_receipt(again)) != again) std::abort();
    llmhost::engine::check_receipt(receipt, {"base", "tokenizer", "template"});
  } catch (const llmhost::Error&) {
  }
  return 0;
}
