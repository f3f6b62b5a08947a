// The section reader on a real file, and on every damaged version of it.
#include "plugin/elf.h"

#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"

using llmhost::plugin::find_elf_section;

namespace {

std::vector<std::byte> good_file() {
  const std::string text = llmhost::read_file(LLMHOST_TEST_PLUGIN);
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

Elf64_Ehdr header_of(const std::vector<std::byte>& file) {
  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof(header));
  return header;
}

void put(std::vector<std::byte>& file, const Elf64_Ehdr& header) {
  std::memcpy(file.data(), &header, sizeof(header));
}

std::string error_of(const std::vector<std::byte>& file) {
  try {
    find_elf_section(file, ".llmhost", "f.so");
  } catch (const llmhost::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("the manifest's bytes are found") {
  const auto file = good_file();
  const auto section = find_elf_section(file, ".llmhost", "f.so");
  REQUIRE(section.has_value());
  const std::string text(reinterpret_cast<const char*>(section->bytes.data()), section->bytes.size());
  CHECK(text.starts_with("id: good\nkind: arch\n"));
  CHECK_FALSE(find_elf_section(file, ".llmhos", "f.so").has_value());
  CHECK_FALSE(find_elf_section(file, ".llmhost2", "f.so").has_value());
}

TEST_CASE("a file cut anywhere gives an error or nothing, never a read outside it") {
  const auto file = good_file();
  for (size_t length = 0; length < file.size(); length += length < 256 ? 1 : 97) {
    const std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK(error_of(cut).starts_with("f.so: "));
  }
}

TEST_CASE("damaged headers are named") {
  const auto file = good_file();
  auto bad = file;
  Elf64_Ehdr header = header_of(file);
  header.e_ident[EI_CLASS] = ELFCLASS32;
  put(bad, header);
  CHECK(error_of(bad) == "f.so: not a 64-bit little-endian ELF file");

  header = header_of(file);
  header.e_type = ET_REL;
  put(bad, header);
  CHECK(error_of(bad) == "f.so: an ELF file, but not a shared object");

  header = header_of(file);
  header.e_shoff = UINT64_MAX - 8;
  put(bad, header);
  CHECK(error_of(bad).starts_with("f.so: damaged ELF file: the first section header at offset "));

  header = header_of(file);
  header.e_shnum = 0xfff0;
  put(bad, header);
  CHECK(error_of(bad).starts_with("f.so: damaged ELF file: "));

  header = header_of(file);
  header.e_shstrndx = 0xfff0;
  put(bad, header);
  CHECK(error_of(bad).starts_with("f.so: damaged ELF file: the section names are section 65520 of "));

  header = header_of(file);
  header.e_shentsize = 8;
  put(bad, header);
  CHECK(error_of(bad) == "f.so: damaged ELF file: section headers of 8 bytes");
}
