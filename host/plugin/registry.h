// Which plugins there are, where they come from, and why one was refused. Scanning runs no code of any
// plugin.
//
// Order of the search: RegistryOptions::plugin_path, $LLMHOST_PLUGIN_PATH, ~/.local/share/llmhost/plugins,
// and
// ../lib/llmhost/plugins beside the executable's folder (the install, or the build tree). Never the current
// folder. Of two plugins with the same kind and id the first one found is used.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugin/plugin.h"

namespace llmhost::plugin {

struct RegistryOptions {
  std::vector<std::string> plugin_path;     // --plugin-path: folders or .so files, absolute
  bool use_default_path = true;             // the environment, the home folder, the installation
  bool allow_insecure = false;              // take files and folders that others may write to
  std::vector<std::string> arch_path = {};  // --arch-path: see documents.h
};

// One file, or one entry of the path, and what became of it.
struct Candidate {
  std::filesystem::path path;
  std::string origin;         // "--plugin-path", "$LLMHOST_PLUGIN_PATH", "home", "installation"
  bool has_manifest = false;  // `manifest` is filled in
  Manifest manifest;
  std::string refusal;       // why it is not usable; empty: it is
  Plugin* plugin = nullptr;  // null when refused; owned by the registry
};

// Scans once, in the constructor, which also offers plugins the user's documents. Afterwards const and
// [thread-safe]; the plugins load themselves at first need.
class Registry {
 public:
  explicit Registry(const RegistryOptions& options = {});
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Everything found, in the order of the search, refused or not.
  const std::vector<Candidate>& candidates() const { return candidates_; }

  // The usable plugin of this kind and id, or null.
  Plugin* find(Kind kind, std::string_view id) const;

  // The same, or an Error that names the nearest id, and the reason if a plugin of this id was refused.
  Plugin& require(Kind kind, std::string_view id) const;

  // Plugins of the kind whose manifest provides `name`: exact ones first, then those that provide "*".
  std::vector<Plugin*> for_provides(Kind kind, std::string_view name) const;

  // All usable plugins of the kind, in the order of the search.
  std::vector<Plugin*> all(Kind kind) const;

 private:
  void scan_entry(const std::filesystem::path& entry, const std::string& origin, bool allow_insecure);
  void add_file(const std::filesystem::path& file, const std::string& origin, bool allow_insecure);

  std::vector<Candidate> candidates_;
  std::vector<std::unique_ptr<Plugin>> plugins_;
};

}  // namespace llmhost::plugin
