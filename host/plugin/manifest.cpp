#include "plugin/manifest.h"

#include <elf.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/names.h"
#include "core/yaml.h"
#include "plugin/elf.h"

namespace llmhost::plugin {
namespace {

constexpr size_t kMaxManifestBytes = size_t{64} << 10;
constexpr size_t kMaxListItems = 1000;
constexpr size_t kMaxTextBytes = 1000;
const std::vector<std::string> kTopKeys = {"id",       "kind",     "version",         "min_host_minor",
                                           "provides", "requires", "license",         "description",
                                           "homepage", "variants", "adapter_targets", "build"};
const std::vector<std::string> kRequiresKeys = {"cpu", "gpu_runtime"};
const std::vector<std::string> kBuildKeys = {"sdk_major", "sdk_minor", "compiler",
                                             "type",      "machine",   "sanitizers"};

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
constexpr uint16_t kMachine = EM_NONE;
#endif

#ifdef __has_feature
#define LLMHOST_HAS_FEATURE(name) __has_feature(name)
#else
#define LLMHOST_HAS_FEATURE(name) 0
#endif
#if LLMHOST_HAS_FEATURE(address_sanitizer) || defined(__SANITIZE_ADDRESS__)
constexpr std::string_view kOwnSanitizer = "address";
#elif LLMHOST_HAS_FEATURE(thread_sanitizer) || defined(__SANITIZE_THREAD__)
constexpr std::string_view kOwnSanitizer = "thread";
#elif LLMHOST_HAS_FEATURE(memory_sanitizer)
constexpr std::string_view kOwnSanitizer = "memory";
#else
constexpr std::string_view kOwnSanitizer = "";
#endif

// The typed reading of one manifest, with errors that name the line.
class ManifestReader {
 public:
  explicit ManifestReader(std::string_view source) : source_(source) {}

  template <typename... Args>
  [[noreturn]] void fail(const YamlNode& node, fmt::format_string<Args...> format, Args&&... args) const {
    throw_invalid("{}: manifest line {}: {}", source_, node.line,
                  fmt::format(format, std::forward<Args>(args)...));
  }

  const YamlNode& map(const YamlNode& node, std::string_view what) const {
    if (node.kind != YamlNode::Kind::kMap) fail(node, "{} must be a list of 'key: value' lines", what);
    return node;
  }

  void refuse_unknown(const YamlNode& map, const std::vector<std::string>& known) const {
    for (const YamlNode& key : map.keys)
      if (std::find(known.begin(), known.end(), key.text) == known.end())
        fail(key, "unknown key {}{}", quote_name(key.text), did_you_mean(key.text, known));
  }

  std::string text(const YamlNode& map, const std::string& key) const {
    const YamlNode* node = map.find(key);
    if (node == nullptr || node->kind == YamlNode::Kind::kNull) return {};
    return scalar(*node, key);
  }

  // Letters, digits and . _ - +, as file names and command lines like them.
  std::string name(const YamlNode& map, const std::string& key) const {
    std::string value = text(map, key);
    if (value.empty()) fail(map, "the key '{}' is missing", key);
    const auto allowed = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
             c == '_' || c == '-' || c == '+';
    };
    if (value.size() > 64 || !std::all_of(value.begin(), value.end(), allowed))
      fail(map, "{} {} must be at most 64 letters, digits or . _ - +", key, quote_name(value));
    return value;
  }

  uint32_t number(const YamlNode& map, const std::string& key, uint32_t fallback) const {
    const std::string value = text(map, key);
    if (value.empty()) return fallback;
    uint32_t result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error != std::errc() || end != value.data() + value.size())
      fail(map, "{} is {}, expected a whole number", key, quote_name(value));
    return result;
  }

  std::vector<std::string> list(const YamlNode& map, const std::string& key) const {
    const YamlNode* node = map.find(key);
    if (node == nullptr || node->kind == YamlNode::Kind::kNull) return {};
    if (node->kind != YamlNode::Kind::kList) fail(*node, "{} must be a list: [a, b]", key);
    if (node->items.size() > kMaxListItems) fail(*node, "{} has more than {} items", key, kMaxListItems);
    std::vector<std::string> result;
    for (const YamlNode& item : node->items) result.push_back(scalar(item, key));
    return result;
  }

 private:
  std::string scalar(const YamlNode& node, const std::string& key) const {
    if (node.kind != YamlNode::Kind::kScalar) fail(node, "{} must be plain text", key);
    if (node.text.size() > kMaxTextBytes) fail(node, "{} is longer than {} bytes", key, kMaxTextBytes);
    return node.text;
  }

  std::string_view source_;
};

void read_build(const ManifestReader& reader, const YamlNode& build, Manifest& manifest) {
  manifest.sdk_major = reader.number(build, "sdk_major", 0);
  manifest.sdk_minor = reader.number(build, "sdk_minor", 0);
  manifest.compiler = reader.text(build, "compiler");
  manifest.build_type = reader.text(build, "type");
  manifest.machine = reader.text(build, "machine");
  manifest.sanitizers = reader.list(build, "sanitizers");
}

// The flags that the kernel reports for the first processor.
std::vector<std::string> cpu_flags() {
  std::ifstream file("/proc/cpuinfo");
  std::vector<std::string> flags;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags") && !line.starts_with("Features")) continue;
    std::istringstream words(line.substr(std::min(line.size(), line.find(':') + 1)));
    for (std::string word; words >> word;) flags.push_back(std::move(word));
    break;
  }
  return flags;
}

std::string cpu_refusal(const std::vector<std::string>& required) {
  static const std::vector<std::string> flags = cpu_flags();
  std::vector<std::string> missing;
  for (const std::string& flag : required)
    if (std::find(flags.begin(), flags.end(), flag) == flags.end()) missing.push_back(quote_name(flag));
  if (missing.empty()) return {};
  return fmt::format("needs a CPU with {}, which this one does not have", fmt::join(missing, ", "));
}

std::string sanitizer_refusal(const std::vector<std::string>& sanitizers) {
  for (const std::string& sanitizer : sanitizers) {
    if (sanitizer == kOwnSanitizer) continue;
    return fmt::format("built with the {} sanitizer, this host {}: build both alike", sanitizer,
                       kOwnSanitizer.empty() ? std::string("without one")
                                             : fmt::format("with the {} sanitizer", kOwnSanitizer));
  }
  return {};
}

}  // namespace

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kArch:
      return "arch";
    case Kind::kBackend:
      return "backend";
    case Kind::kFinetune:
      return "finetune";
  }
  return "unknown";
}

Kind parse_kind(std::string_view name) {
  for (const Kind kind : {Kind::kArch, Kind::kBackend, Kind::kFinetune})
    if (name == kind_name(kind)) return kind;
  throw UsageError(fmt::format("unknown kind of plugin {}: use arch, backend or finetune", quote_name(name)));
}

Manifest parse_manifest(std::string_view text, std::string_view source) {
  const YamlLimits limits{kMaxManifestBytes, 8, 4096};
  const YamlNode root = parse_yaml(text, fmt::format("{}: manifest", source), limits);
  const ManifestReader reader(source);
  reader.map(root, "the manifest");

  Manifest manifest;
  const YamlNode* build = root.find("build");
  if (build != nullptr) read_build(reader, reader.map(*build, "build"), manifest);
  const YamlNode* needs = root.find("requires");
  if (needs != nullptr) reader.map(*needs, "requires");
  // A newer SDK may have keys that this host does not know and, by the negotiation, does not need to know.
  if (manifest.sdk_major == LLMH_SDK_MAJOR && manifest.sdk_minor <= LLMH_SDK_MINOR) {
    reader.refuse_unknown(root, kTopKeys);
    if (build != nullptr) reader.refuse_unknown(*build, kBuildKeys);
    if (needs != nullptr) reader.refuse_unknown(*needs, kRequiresKeys);
  }

  manifest.id = reader.name(root, "id");
  manifest.version = reader.name(root, "version");
  const std::string kind = reader.name(root, "kind");
  if (kind != "arch" && kind != "backend" && kind != "finetune")
    reader.fail(*root.find("kind"), "unknown kind {}: use arch, backend or finetune", quote_name(kind));
  manifest.kind = parse_kind(kind);
  manifest.description = reader.text(root, "description");
  manifest.min_host_minor = reader.number(root, "min_host_minor", 0);
  manifest.provides = reader.list(root, "provides");
  manifest.variants = reader.list(root, "variants");
  manifest.adapter_targets = reader.list(root, "adapter_targets");
  if (needs != nullptr) {
    manifest.required_cpu = reader.list(*needs, "cpu");
    manifest.gpu_runtime = reader.text(*needs, "gpu_runtime");
  }
  return manifest;
}

Manifest read_manifest(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto section = find_elf_section(file.bytes(), LLMH_MANIFEST_SECTION, path.string());
  if (!section)
    throw_invalid("{}: no section '{}': not built by llmhost_add_plugin()", path.string(),
                  LLMH_MANIFEST_SECTION);
  if (section->machine != kMachine)
    throw_invalid("{}: built for another processor (ELF machine {}, this one is {})", path.string(),
                  section->machine, kMachine);
  if (section->bytes.size() > kMaxManifestBytes)
    throw_invalid("{}: the manifest has {} bytes, the limit is {}", path.string(), section->bytes.size(),
                  kMaxManifestBytes);
  const std::string_view text(reinterpret_cast<const char*>(section->bytes.data()), section->bytes.size());
  return parse_manifest(text, path.string());
}

std::string manifest_refusal(const Manifest& manifest) {
  if (manifest.sdk_major == 0)
    return "the manifest has no build.sdk_major: not built by llmhost_add_plugin()";
  if (manifest.sdk_major != LLMH_SDK_MAJOR)
    return fmt::format("built for SDK {}, this host speaks {}", manifest.sdk_major, LLMH_SDK_MAJOR);
  if (manifest.min_host_minor > LLMH_SDK_MINOR)
    return fmt::format("needs a host of SDK {}.{} or newer, this host speaks {}.{}", manifest.sdk_major,
                       manifest.min_host_minor, LLMH_SDK_MAJOR, LLMH_SDK_MINOR);
  if (std::string reason = sanitizer_refusal(manifest.sanitizers); !reason.empty()) return reason;
  return cpu_refusal(manifest.required_cpu);
}

}  // namespace llmhost::plugin
