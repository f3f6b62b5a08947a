#include "plugin/registry.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "core/error.h"
#include "core/names.h"
#include "core/paths.h"
#include "plugin/documents.h"
#include "plugin/path_list.h"
#include "plugin/trust.h"

namespace llmhost::plugin {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInstallation = "installation";

std::vector<fs::path> shared_objects(const fs::path& folder, std::error_code& error) {
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->path().extension() == ".so" && it->is_regular_file(ignored)) files.push_back(it->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Gate 1 for one file: fills in the manifest, and the refusal when there is a reason.
void examine(Candidate& candidate, bool allow_insecure) {
  try {
    candidate.manifest = read_manifest(candidate.path);
    candidate.has_manifest = true;
    candidate.refusal = manifest_refusal(candidate.manifest);
  } catch (const Error& error) {
    const std::string prefix = candidate.path.string() + ": ";
    candidate.refusal = error.what();
    if (candidate.refusal.starts_with(prefix)) candidate.refusal.erase(0, prefix.size());
  }
  if (!candidate.refusal.empty() || allow_insecure) return;
  const bool is_ours = candidate.origin == kInstallation;
  candidate.refusal = insecure_reason(candidate.path, is_ours ? executable_path() : fs::path());
}

bool is_meant(const Candidate& candidate, Kind kind, std::string_view id) {
  if (candidate.has_manifest) return candidate.manifest.kind == kind && candidate.manifest.id == id;
  return candidate.path.stem() == fs::path(id);
}

}  // namespace

Registry::Registry(const RegistryOptions& options) {
  offer_documents({{{"archs", options.arch_path}}, options.use_default_path});
  for (const std::string& entry : options.plugin_path)
    scan_entry(entry, "--plugin-path", options.allow_insecure);
  if (!options.use_default_path) return;
  if (const char* list = std::getenv("LLMHOST_PLUGIN_PATH"))
    for (const std::string& entry : split_path_list(list))
      scan_entry(entry, "$LLMHOST_PLUGIN_PATH", options.allow_insecure);
  const std::pair<fs::path, std::string> standard[] = {
      {data_dir() / "plugins", "home"},
      {executable_dir().parent_path() / "lib" / "llmhost" / "plugins", kInstallation},
  };
  for (const auto& [folder, origin] : standard) {
    std::error_code ignored;
    if (folder.is_absolute() && fs::exists(folder, ignored))
      scan_entry(folder, origin, options.allow_insecure);
  }
}

void Registry::scan_entry(const fs::path& entry, const std::string& origin, bool allow_insecure) {
  const auto refuse = [&](std::string reason) {
    Candidate candidate;
    candidate.path = entry;
    candidate.origin = origin;
    candidate.refusal = std::move(reason);
    candidates_.push_back(std::move(candidate));
  };
  if (!entry.is_absolute()) return refuse("not an absolute path");
  const fs::path normal = entry.lexically_normal();
  std::error_code error;
  const fs::file_status status = fs::status(normal, error);
  if (status.type() == fs::file_type::not_found) return refuse("no such file or folder");
  if (status.type() == fs::file_type::regular) return add_file(normal, origin, allow_insecure);
  if (status.type() != fs::file_type::directory)
    return refuse("neither a folder nor a file that can be read");
  const std::vector<fs::path> files = shared_objects(normal, error);
  if (error) return refuse("cannot list the folder: " + error.message());
  for (const fs::path& file : files) add_file(file, origin, allow_insecure);
}

void Registry::add_file(const fs::path& file, const std::string& origin, bool allow_insecure) {
  Candidate candidate;
  candidate.path = file;
  candidate.origin = origin;
  examine(candidate, allow_insecure);
  if (candidate.refusal.empty()) {
    if (const Plugin* first = find(candidate.manifest.kind, candidate.manifest.id)) {
      candidate.refusal = fmt::format("another plugin {} of kind {} comes first on the path: {}", first->id(),
                                      kind_name(first->kind()), first->path().string());
    } else {
      plugins_.push_back(std::make_unique<Plugin>(file, candidate.manifest));
      candidate.plugin = plugins_.back().get();
    }
  }
  candidates_.push_back(std::move(candidate));
}

Plugin* Registry::find(Kind kind, std::string_view id) const {
  for (const auto& plugin : plugins_)
    if (plugin->kind() == kind && plugin->id() == id) return plugin.get();
  return nullptr;
}

Plugin& Registry::require(Kind kind, std::string_view id) const {
  if (Plugin* plugin = find(kind, id)) return *plugin;
  for (const Candidate& candidate : candidates_)
    if (!candidate.refusal.empty() && is_meant(candidate, kind, id))
      throw_error(ErrorCode::kFailedPrecondition, "the {} plugin {} is refused: {}: {}", kind_name(kind),
                  quote_name(id), candidate.path.string(), candidate.refusal);
  std::vector<std::string> known;
  for (const auto& plugin : plugins_)
    if (plugin->kind() == kind) known.push_back(plugin->id());
  std::string message =
      fmt::format("no {} plugin {} found{}", kind_name(kind), quote_name(id), did_you_mean(id, known));
  for (const Candidate& candidate : candidates_)
    if (!candidate.has_manifest && candidate.path.extension() != ".so")
      message += fmt::format("; {} {}: {}", candidate.origin, candidate.path.string(), candidate.refusal);
  throw Error(ErrorCode::kNotFound, message);
}

std::vector<Plugin*> Registry::for_provides(Kind kind, std::string_view name) const {
  std::vector<Plugin*> exact;
  std::vector<Plugin*> any;
  for (const auto& plugin : plugins_) {
    if (plugin->kind() != kind) continue;
    const std::vector<std::string>& provides = plugin->manifest().provides;
    if (std::find(provides.begin(), provides.end(), name) != provides.end())
      exact.push_back(plugin.get());
    else if (std::find(provides.begin(), provides.end(), "*") != provides.end())
      any.push_back(plugin.get());
  }
  exact.insert(exact.end(), any.begin(), any.end());
  return exact;
}

std::vector<Plugin*> Registry::all(Kind kind) const {
  std::vector<Plugin*> result;
  for (const auto& plugin : plugins_)
    if (plugin->kind() == kind) result.push_back(plugin.get());
  return result;
}

}  // namespace llmhost::plugin
