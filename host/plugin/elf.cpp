#include "plugin/elf.h"

#include <elf.h>

#include <bit>
#include <cstring>

#include "core/error.h"

namespace llmhost::plugin {
namespace {

static_assert(std::endian::native == std::endian::little, "ELF fields are read as they lie in the file");

// Reads structs and ranges of one file; a range that is not wholly inside it is an error.
class Reader {
 public:
  Reader(std::span<const std::byte> file, std::string_view source) : file_(file), source_(source) {}

  template <typename T>
  T read(uint64_t offset, const char* what) const {
    T value;
    std::memcpy(&value, range(offset, sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> range(uint64_t offset, uint64_t length, const char* what) const {
    if (offset > file_.size() || length > file_.size() - offset)
      throw_invalid("{}: damaged ELF file: {} at offset {} ({} bytes) lies outside the file's {} bytes",
                    source_, what, offset, length, file_.size());
    return file_.subspan(static_cast<size_t>(offset), static_cast<size_t>(length));
  }

 private:
  std::span<const std::byte> file_;
  std::string_view source_;
};

Elf64_Ehdr read_header(const Reader& reader, std::span<const std::byte> file, std::string_view source) {
  if (file.size() < SELFMAG || std::memcmp(file.data(), ELFMAG, SELFMAG) != 0)
    throw_invalid("{}: not an ELF file", source);
  const auto header = reader.read<Elf64_Ehdr>(0, "the header");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    throw_invalid("{}: not a 64-bit little-endian ELF file", source);
  if (header.e_type != ET_DYN) throw_invalid("{}: an ELF file, but not a shared object", source);
  if (header.e_shoff != 0 && header.e_shentsize != sizeof(Elf64_Shdr))
    throw_invalid("{}: damaged ELF file: section headers of {} bytes", source, header.e_shentsize);
  return header;
}

// Section names are NUL-terminated inside the name table; one that runs out of the table matches nothing.
bool name_is(std::span<const std::byte> names, uint32_t offset, std::string_view wanted) {
  if (offset >= names.size() || names.size() - offset <= wanted.size()) return false;
  const std::byte* name = names.data() + offset;
  return std::memcmp(name, wanted.data(), wanted.size()) == 0 && name[wanted.size()] == std::byte{0};
}

}  // namespace

std::optional<ElfSection> find_elf_section(std::span<const std::byte> file, std::string_view section,
                                           std::string_view source) {
  const Reader reader(file, source);
  const Elf64_Ehdr header = read_header(reader, file, source);
  if (header.e_shoff == 0) return std::nullopt;
  const auto first = reader.read<Elf64_Shdr>(header.e_shoff, "the first section header");
  // Counts that do not fit the header's 16 bits stand in section 0.
  const uint64_t count = header.e_shnum != 0 ? header.e_shnum : first.sh_size;
  const uint32_t names_index = header.e_shstrndx != SHN_XINDEX ? header.e_shstrndx : first.sh_link;
  if (count > file.size() / sizeof(Elf64_Shdr))
    throw_invalid("{}: damaged ELF file: {} sections in {} bytes", source, count, file.size());
  reader.range(header.e_shoff, count * sizeof(Elf64_Shdr), "the section headers");
  if (names_index >= count)
    throw_invalid("{}: damaged ELF file: the section names are section {} of {}", source, names_index, count);

  const auto at = [&](uint64_t index) {
    return reader.read<Elf64_Shdr>(header.e_shoff + index * sizeof(Elf64_Shdr), "a section header");
  };
  const Elf64_Shdr names_header = at(names_index);
  const auto names = reader.range(names_header.sh_offset, names_header.sh_size, "the section names");
  for (uint64_t i = 0; i < count; ++i) {
    const Elf64_Shdr candidate = at(i);
    if (!name_is(names, candidate.sh_name, section)) continue;
    if (candidate.sh_type == SHT_NOBITS || (candidate.sh_flags & SHF_COMPRESSED) != 0)
      throw_invalid("{}: the section {} is empty or compressed", source, section);
    return ElfSection{reader.range(candidate.sh_offset, candidate.sh_size, "the section"), header.e_machine};
  }
  return std::nullopt;
}

}  // namespace llmhost::plugin
