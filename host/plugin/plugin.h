// One plugin that passed gate 1. Its code is loaded at first need and never unloaded. Gate 2.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "llmhost/arch.h"
#include "llmhost/backend.h"
#include "llmhost/finetune.h"
#include "llmhost/plugin.h"
#include "plugin/manifest.h"

namespace llmhost::plugin {

struct Loaded;  // what dlopen gave; kept until the process ends

class Plugin {
 public:
  Plugin(std::filesystem::path path, Manifest manifest);
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }
  const std::string& id() const { return manifest_.id; }
  Kind kind() const { return manifest_.kind; }

  // Loads and initialises on the first call; throws Error with the reason, the same one each time.
  // [thread-safe]
  void load();

  // Of the loaded plugin: min(host, plugin) minor; loads it. [thread-safe]
  uint32_t minor();

  // Loads, then gives an interface by id and revision, or null when the plugin has none of that id.
  // [thread-safe]
  const void* extension(std::string_view interface_id);

 private:
  Loaded& loaded();

  std::filesystem::path path_;
  Manifest manifest_;
};

// The plugin's main interface, checked: large enough and with every function it must have. Loads the plugin;
// the table is valid until the process ends. Throws when the plugin is of another kind. [thread-safe]
const llmh_arch& arch(Plugin& plugin);
const llmh_backend& backend(Plugin& plugin);
const llmh_finetune& finetune(Plugin& plugin);

// Offers `table` to plugins as llmh_host.get_extension(id). It must stay valid until the process ends.
// Registering an id again replaces it. [thread-safe]
void register_host_extension(std::string_view id, const void* table);

// Tells every initialised plugin that the host is done with it, the newest first; for the end of main().
// [control]
void quiesce_all() noexcept;

}  // namespace llmhost::plugin
