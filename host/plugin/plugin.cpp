#include "plugin/plugin.h"

#define BOOST_DLL_USE_STD_FS
#include <dlfcn.h>

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <vector>

#include "core/log.h"
#include "plugin/crash_note.h"
#include "plugin/host_table.h"
#include "plugin/status.h"
#include "plugin/thread_tags.h"

namespace llmhost::plugin {

struct Loaded {
  boost::dll::shared_library library;
  const llmh_plugin* table = nullptr;
  std::unique_ptr<HostTable> host;
  std::unique_ptr<Error> failure;
  bool is_initialised = false;
};

namespace {

constexpr size_t kMinTableSize = offsetof(llmh_plugin, get_extension) + sizeof(llmh_plugin::get_extension);
constexpr uint64_t kMaxIdBytes = 64;

// Never destroyed, so no plugin is ever unloaded: its threads and static objects may outlive main().
struct LoadedPlugins {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Loaded>> by_path;
  std::vector<Loaded*> in_order;
};

LoadedPlugins& all_loaded() {
  static auto* plugins = new LoadedPlugins;
  return *plugins;
}

std::string_view bounded_view(llmh_str text) {
  return text.ptr == nullptr || text.len > kMaxIdBytes ? std::string_view()
                                                       : std::string_view(text.ptr, text.len);
}

// dlopen, with the loader's own message.
void open_library(const std::filesystem::path& path, Loaded& loaded) {
  std::error_code error;
  ::dlerror();
  loaded.library.load(path, error, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  if (!error) return;
  const char* reason = ::dlerror();
  throw_error(ErrorCode::kFailedPrecondition, "cannot be loaded: {}",
              reason != nullptr ? std::string(reason) : error.message());
}

void find_table(Loaded& loaded) {
  if (loaded.library.has(LLMH_PLUGIN_SYMBOL)) {
    loaded.table = &loaded.library.get<const llmh_plugin>(LLMH_PLUGIN_SYMBOL);
    return;
  }
  for (int major = 0; major < 100; ++major)
    if (major != LLMH_SDK_MAJOR && loaded.library.has(fmt::format("llmhost_plugin_v{}", major)))
      throw_error(ErrorCode::kFailedPrecondition, "built for SDK {}, this host speaks {}", major,
                  LLMH_SDK_MAJOR);
  throw_error(ErrorCode::kFailedPrecondition,
              "does not export {}: define it with LLMH_PLUGIN or LLMH_DEFINE_PLUGIN", LLMH_PLUGIN_SYMBOL);
}

// Gate 2: what the code says must be what the manifest said.
void negotiate(const Manifest& manifest, Loaded& loaded) {
  const llmh_plugin& table = *loaded.table;
  if (table.struct_size < kMinTableSize)
    throw_error(ErrorCode::kFailedPrecondition, "its llmh_plugin table has {} bytes, at least {} are needed",
                table.struct_size, kMinTableSize);
  if (table.min_host_minor > LLMH_SDK_MINOR)
    throw_error(ErrorCode::kFailedPrecondition, "needs a host of SDK {}.{} or newer, this host speaks {}.{}",
                LLMH_SDK_MAJOR, table.min_host_minor, LLMH_SDK_MAJOR, LLMH_SDK_MINOR);
  if (table.kind != static_cast<int32_t>(manifest.kind))
    throw_error(ErrorCode::kFailedPrecondition, "its table says kind {}, its manifest {} ({})", table.kind,
                static_cast<int32_t>(manifest.kind), kind_name(manifest.kind));
  if (bounded_view(table.id) != manifest.id)
    throw_error(ErrorCode::kFailedPrecondition, "its table says id '{}', its manifest '{}'",
                bounded_view(table.id), manifest.id);
  if (table.get_extension == nullptr)
    throw_error(ErrorCode::kFailedPrecondition, "its table has no get_extension");
  const uint32_t minor = std::min<uint32_t>(table.sdk_minor, LLMH_SDK_MINOR);
  loaded.host = std::make_unique<HostTable>(manifest.id, minor);
}

void initialise(Loaded& loaded) {
  if (loaded.is_initialised) return;
  const ControlScope scope(loaded.table, "llmh_plugin.init");
  llmh_status* status = nullptr;
  try {
    if (loaded.table->init != nullptr) status = loaded.table->init(loaded.host.get());
  } catch (...) {
    throw_error(ErrorCode::kInternal, "threw an exception out of init; errors must be returned as a status");
  }
  if (status != nullptr) {
    const Error error = take_error(status);
    throw Error(error.code(), fmt::format("init failed: {}", error.what()));
  }
  loaded.is_initialised = true;
}

}  // namespace

Plugin::Plugin(std::filesystem::path path, Manifest manifest)
    : path_(std::move(path)), manifest_(std::move(manifest)) {}

Loaded& Plugin::loaded() {
  LoadedPlugins& all = all_loaded();
  const std::lock_guard lock(all.mutex);
  std::unique_ptr<Loaded>& slot = all.by_path[path_.string()];
  const bool is_new = slot == nullptr;
  if (is_new) slot = std::make_unique<Loaded>();
  if (slot->failure) throw Error(*slot->failure);
  if (slot->is_initialised) return *slot;
  spdlog::debug("loading plugin {} {} ({})", manifest_.id, manifest_.version, path_.string());
  try {
    const CrashNote note(manifest_.id, path_.string());
    if (is_new) {
      open_library(path_, *slot);
      find_table(*slot);
      negotiate(manifest_, *slot);
    }
    initialise(*slot);
    all.in_order.push_back(slot.get());
  } catch (const Error& error) {
    slot->failure = std::make_unique<Error>(
        error.code(), fmt::format("plugin {} ({}): {}", manifest_.id, path_.string(), error.what()));
    throw Error(*slot->failure);
  } catch (const std::exception& error) {  // of a library; what is half loaded is not tried again
    slot->failure = std::make_unique<Error>(
        ErrorCode::kInternal, fmt::format("plugin {} ({}): {}", manifest_.id, path_.string(), error.what()));
    throw Error(*slot->failure);
  }
  return *slot;
}

void Plugin::load() {
  loaded();
}

uint32_t Plugin::minor() {
  return loaded().host->minor;
}

const void* Plugin::extension(std::string_view interface_id) {
  return loaded().table->get_extension(llmh_str{interface_id.data(), interface_id.size()});
}

void quiesce_all() noexcept {
  LoadedPlugins& all = all_loaded();
  const std::lock_guard lock(all.mutex);
  while (!all.in_order.empty()) {
    Loaded& loaded = *all.in_order.back();
    all.in_order.pop_back();
    loaded.is_initialised = false;
    if (loaded.table->quiesce != nullptr) loaded.table->quiesce();
  }
}

}  // namespace llmhost::plugin
