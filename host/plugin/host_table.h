// The llmh_host that one plugin gets: errors and log lines carry the plugin's id, extensions come from one
// list.
#pragma once

#include <string>

#include "llmhost/plugin.h"

namespace llmhost::plugin {

struct HostTable : llmh_host {
  HostTable(std::string plugin_id, uint32_t negotiated_minor);
  std::string id;
};

}  // namespace llmhost::plugin
