#include "plugin/host_table.h"

#include <map>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <utility>

#include "core/log.h"
#include "plugin/plugin.h"
#include "plugin/status.h"

namespace llmhost::plugin {
namespace {

struct Extensions {
  std::shared_mutex mutex;
  std::map<std::string, const void*, std::less<>> tables;
};

// Never destroyed: a plugin may ask while the process ends.
Extensions& extensions() {
  static auto* all = new Extensions;
  return *all;
}

std::string_view view(llmh_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}

llmh_status* host_status_new(const llmh_host* host, int32_t code, llmh_str message) noexcept {
  return new_status(static_cast<const HostTable*>(host)->id, code, view(message));
}

void host_log(const llmh_host* host, int32_t level, llmh_str message) noexcept {
  auto spd = spdlog::level::err;
  if (level <= LLMH_LOG_DEBUG) spd = spdlog::level::debug;
  if (level == LLMH_LOG_INFO) spd = spdlog::level::info;
  if (level == LLMH_LOG_WARN) spd = spdlog::level::warn;
  try {
    spdlog::log(spd, "plugin {}: {}", static_cast<const HostTable*>(host)->id, view(message));
  } catch (...) {
    // A log line that cannot be written is no reason to fail the plugin's call.
    return;
  }
}

const void* host_get_extension(const llmh_host*, llmh_str id) noexcept {
  const std::shared_lock lock(extensions().mutex);
  const auto found = extensions().tables.find(view(id));
  return found == extensions().tables.end() ? nullptr : found->second;
}

}  // namespace

HostTable::HostTable(std::string plugin_id, uint32_t negotiated_minor)
    : llmh_host{sizeof(llmh_host), negotiated_minor, host_status_new, host_log, host_get_extension},
      id(std::move(plugin_id)) {}

void register_host_extension(std::string_view id, const void* table) {
  const std::unique_lock lock(extensions().mutex);
  extensions().tables.insert_or_assign(std::string(id), table);
}

}  // namespace llmhost::plugin
