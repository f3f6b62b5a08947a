// The plugins of the build tree.
#pragma once

#include <string>

#include "plugin/registry.h"

namespace llmhost::test {

inline plugin::Registry& built_plugins() {
  static plugin::Registry* const registry = [] {
    plugin::RegistryOptions options;
    options.plugin_path = {std::string(LLMHOST_BINARY_DIR) + "/lib/llmhost/plugins"};
    options.use_default_path = false;
    options.allow_insecure = true;  // a build folder may be group-writable
    return new plugin::Registry(options);
  }();
  return *registry;
}

}  // namespace llmhost::test
