// Values of a config by dotted path, those of a nested text model first.
#pragma once

#include <string_view>

#include "core/json.h"

namespace llmhost::model {

class ConfigPath {
 public:
  // The config must outlive it.
  explicit ConfigPath(const Json& config) : config_(config) {}

  // Null when there is none.
  const Json& find(std::string_view path) const {
    static const Json kNull;
    const auto text = config_.find("text_config");
    if (text != config_.end() && text->is_object())
      if (const Json* found = below(*text, path)) return *found;
    const Json* found = below(config_, path);
    return found == nullptr ? kNull : *found;
  }

 private:
  static const Json* below(const Json& config, std::string_view path) {
    const Json* at = &config;
    while (at->is_object()) {
      const size_t dot = path.find('.');
      const auto found = at->find(std::string(path.substr(0, dot)));
      if (found == at->end() || found->is_null()) return nullptr;
      at = &*found;
      if (dot == std::string_view::npos) return at;
      path.remove_prefix(dot + 1);
    }
    return nullptr;
  }

  const Json& config_;
};

}  // namespace llmhost::model
