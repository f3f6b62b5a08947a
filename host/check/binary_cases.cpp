// The file: what can be seen of a plugin without calling it.
#include <fmt/ranges.h>

#include "check/cases.h"
#include "check/elf_facts.h"
#include "core/error.h"
#include "core/file.h"

namespace llmhost::check {
namespace {

ElfFacts facts_of(const Subject& subject) {
  const MappedFile file(subject.options.plugin);
  return read_elf_facts(file.bytes(), subject.options.plugin.string());
}

std::string check_manifest(const Subject& subject) {
  if (const std::string refusal = plugin::manifest_refusal(subject.manifest); !refusal.empty())
    throw_error(ErrorCode::kFailedPrecondition, "the host refuses it: {}", refusal);
  const plugin::Manifest& m = subject.manifest;
  if (m.provides.empty() && m.kind == plugin::Kind::kArch)
    throw_invalid("the manifest provides no model type: without --arch nobody finds it");
  return fmt::format("{} {} {}, SDK {}.{}", plugin::kind_name(m.kind), m.id, m.version, m.sdk_major,
                     m.sdk_minor);
}

std::string check_exports(const Subject& subject) {
  const ElfFacts facts = facts_of(subject);
  std::vector<std::string> others;
  bool found = false;
  for (const ExportedSymbol& symbol : facts.exports) {
    if (symbol.name == LLMH_PLUGIN_SYMBOL) {
      found = true;
      if (!symbol.is_data)
        throw_invalid("{} is a function; it must be data, defined by LLMH_PLUGIN", LLMH_PLUGIN_SYMBOL);
    } else if (others.size() < 5) {
      others.push_back(symbol.name);
    }
  }
  if (!found) throw_invalid("does not export {}", LLMH_PLUGIN_SYMBOL);
  if (!others.empty())
    throw_invalid("exports {} symbols, one is allowed; also {}: build it with llmhost_add_plugin()",
                  facts.exports.size(), fmt::join(others, ", "));
  return {};
}

std::string check_stack(const Subject& subject) {
  const ElfFacts facts = facts_of(subject);
  if (facts.executable_stack)
    throw_invalid(
        "asks for an executable stack: link with -z noexecstack, and mark assembler files with "
        ".note.GNU-stack");
  if (facts.text_relocations) throw_invalid("has text relocations: compile everything with -fPIC");
  return {};
}

std::string check_libraries(const Subject& subject) {
  raw_table(subject);
  const ElfFacts facts = facts_of(subject);
  return fmt::format("{}", fmt::join(facts.needed, " "));
}

std::string_view view(llmh_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}

std::string check_table(const Subject& subject) {
  const llmh_plugin& table = raw_table(subject);
  const plugin::Manifest& m = subject.manifest;
  if (view(table.version) != m.version)
    throw_invalid("its table says version '{}', its manifest '{}'", view(table.version), m.version);
  if (table.sdk_minor != m.sdk_minor)
    throw_invalid("its table was compiled with SDK minor {}, its manifest says {}", table.sdk_minor,
                  m.sdk_minor);
  if (table.min_host_minor != m.min_host_minor)
    throw_invalid("its table needs host minor {}, its manifest says {}", table.min_host_minor,
                  m.min_host_minor);
  // Size, kind, id and the interface, as the host checks them when it loads.
  const auto registry = own_registry(subject);
  plugin::Plugin& loaded = registry->require(m.kind, m.id);
  if (m.kind == plugin::Kind::kArch) plugin::arch(loaded);
  if (m.kind == plugin::Kind::kBackend) plugin::backend(loaded);
  if (m.kind == plugin::Kind::kFinetune) plugin::finetune(loaded);
  return {};
}

}  // namespace

void add_binary_cases(const Subject& subject, Cases& cases) {
  cases.push_back({"binary.manifest", [&] { return check_manifest(subject); }});
  cases.push_back({"binary.exports", [&] { return check_exports(subject); }});
  cases.push_back({"binary.stack", [&] { return check_stack(subject); }});
  cases.push_back({"binary.libraries", [&] { return check_libraries(subject); }});
  if (plugin::manifest_refusal(subject.manifest).empty())
    cases.push_back({"binary.table", [&] { return check_table(subject); }});
}

}  // namespace llmhost::check
