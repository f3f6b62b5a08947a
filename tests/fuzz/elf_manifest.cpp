// A shared object's bytes, and a manifest's text, as anybody may put them into a plugin folder. The first
// byte of the input says which: 0 is an ELF file, anything else the text of a manifest.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/error.h"
#include "plugin/elf.h"
#include "plugin/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto* bytes = reinterpret_cast<const std::byte*>(data + 1);
  std::string_view text(reinterpret_cast<const char*>(bytes), size - 1);
  try {
    if (data[0] == 0) {
      const auto section =
          llmhost::plugin::find_elf_section({bytes, size - 1}, LLMH_MANIFEST_SECTION, "input");
      if (!section) return 0;
      text = {reinterpret_cast<const char*>(section->bytes.data()), section->bytes.size()};
    }
    const llmhost::plugin::Manifest manifest = llmhost::plugin::parse_manifest(text, "input");
    llmhost::plugin::manifest_refusal(manifest);
  } catch (const llmhost::Error&) {
    // Refused with a reason: what is wanted.
    return 0;
  }
  return 0;
}
