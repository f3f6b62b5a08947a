// Finding a section of an ELF64 little-endian file in foreign bytes: every offset is checked before it is
// followed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace llmhost::plugin {

struct ElfSection {
  std::span<const std::byte> bytes;
  uint16_t machine = 0;  // e_machine of the file
};

// The first section of this name, or nothing when the file has none. `source` names the file in errors; a
// file that is not a well-formed ELF64 little-endian shared object is an Error.
std::optional<ElfSection> find_elf_section(std::span<const std::byte> file, std::string_view section,
                                           std::string_view source);

}  // namespace llmhost::plugin
