// What a plugin says about itself before any of its code runs: the YAML in the ELF section ".llmhost".
// Gate 1.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/plugin.h"

namespace llmhost::plugin {

enum class Kind : int32_t {
  kArch = LLMH_KIND_ARCH,
  kBackend = LLMH_KIND_BACKEND,
  kFinetune = LLMH_KIND_FINETUNE,
};

// "arch", "backend", "finetune"; the second form throws UsageError for anything else.
std::string_view kind_name(Kind kind);
Kind parse_kind(std::string_view name);

struct Manifest {
  Kind kind = Kind::kArch;
  std::string id;
  std::string version;
  std::string description;
  uint32_t min_host_minor = 0;
  std::vector<std::string>
      provides;  // arch: model types ("*": any); backend: device kinds; finetune: methods
  std::vector<std::string> variants;         // arch: models of the family, for people to read
  std::vector<std::string> adapter_targets;  // arch: modules that adapters usually attach to, last part
  std::vector<std::string> required_cpu;     // CPU flags as /proc/cpuinfo spells them
  std::string gpu_runtime;                   // runtime library the plugin needs; empty: none

  // Filled in by llmhost_add_plugin().
  uint32_t sdk_major = 0;
  uint32_t sdk_minor = 0;
  std::string compiler;
  std::string build_type;
  std::string machine;
  std::vector<std::string> sanitizers;
};

// `source` names the text in errors. Unknown keys are refused, unless a newer SDK minor wrote the manifest.
Manifest parse_manifest(std::string_view text, std::string_view source);

// Reads the manifest of a shared object; throws Error with the reason when it is no plugin for this machine.
Manifest read_manifest(const std::filesystem::path& path);

// Why a plugin with this manifest cannot work in this process ("built for SDK 2, this host speaks 1"); empty:
// it can.
std::string manifest_refusal(const Manifest& manifest);

}  // namespace llmhost::plugin
