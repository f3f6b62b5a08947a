#include "check/elf_facts.h"

#include <elf.h>

#include <cstring>

#include "core/error.h"
#include "plugin/elf.h"

namespace llmhost::check {
namespace {

using Bytes = std::span<const std::byte>;

Bytes section(Bytes file, std::string_view name, std::string_view source) {
  const auto found = plugin::find_elf_section(file, name, source);
  return found ? found->bytes : Bytes();
}

// Entry `index` of an array of structs; the caller stays below bytes.size() / sizeof(T).
template <typename T>
T entry(Bytes bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

std::string text_at(Bytes strings, uint64_t offset) {
  if (offset >= strings.size()) return "?";
  const char* text = reinterpret_cast<const char*>(strings.data()) + offset;
  return std::string(text, ::strnlen(text, strings.size() - static_cast<size_t>(offset)));
}

// No PT_GNU_STACK at all means an executable one, too.
bool has_executable_stack(Bytes file, std::string_view source) {
  const auto header = entry<Elf64_Ehdr>(file, 0);
  const uint64_t bytes = uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > file.size() ||
      bytes > file.size() - header.e_phoff)
    throw_invalid("{}: damaged ELF file: the program headers lie outside", source);
  const Bytes headers = file.subspan(static_cast<size_t>(header.e_phoff), static_cast<size_t>(bytes));
  for (size_t i = 0; i < header.e_phnum; ++i) {
    const auto segment = entry<Elf64_Phdr>(headers, i);
    if (segment.p_type == PT_GNU_STACK) return (segment.p_flags & PF_X) != 0;
  }
  return true;
}

}  // namespace

ElfFacts read_elf_facts(Bytes file, std::string_view source) {
  ElfFacts facts;
  const Bytes symbols = section(file, ".dynsym", source);
  const Bytes strings = section(file, ".dynstr", source);
  const Bytes dynamic = section(file, ".dynamic", source);
  facts.executable_stack = has_executable_stack(file, source);
  for (size_t i = 0; i < symbols.size() / sizeof(Elf64_Sym); ++i) {
    const auto symbol = entry<Elf64_Sym>(symbols, i);
    const auto binding = ELF64_ST_BIND(symbol.st_info);
    const auto visibility = ELF64_ST_VISIBILITY(symbol.st_other);
    const bool is_local = binding == STB_LOCAL || visibility == STV_HIDDEN || visibility == STV_INTERNAL;
    if (symbol.st_shndx == SHN_UNDEF || is_local) continue;
    facts.exports.push_back({text_at(strings, symbol.st_name), ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT});
  }
  for (size_t i = 0; i < dynamic.size() / sizeof(Elf64_Dyn); ++i) {
    const auto item = entry<Elf64_Dyn>(dynamic, i);
    if (item.d_tag == DT_NULL) break;
    if (item.d_tag == DT_NEEDED) facts.needed.push_back(text_at(strings, item.d_un.d_val));
    if (item.d_tag == DT_TEXTREL) facts.text_relocations = true;
  }
  return facts;
}

}  // namespace llmhost::check
