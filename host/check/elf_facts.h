// What the dynamic linker reads of a shared object: symbols, libraries, the stack. Foreign bytes: every
// offset is checked.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::check {

struct ExportedSymbol {
  std::string name;
  bool is_data = false;
};

struct ElfFacts {
  std::vector<ExportedSymbol> exports;  // defined and visible to others
  std::vector<std::string> needed;      // DT_NEEDED
  bool executable_stack = false;
  bool text_relocations = false;
};

// Throws Error when the file is no well-formed shared object.
ElfFacts read_elf_facts(std::span<const std::byte> file, std::string_view source);

}  // namespace llmhost::check
