#include "serve/models/pool_entries.h"

#include <algorithm>

#include "core/error.h"
#include "serve/models/model_roots.h"

namespace llmhost::serve {
namespace {

constexpr std::chrono::seconds kScanEvery{1};

}  // namespace

std::exception_ptr pool_error(ErrorCode code, const std::string& message) {
  return std::make_exception_ptr(Error(code, message));
}

PoolEntries::PoolEntries(const ServeConfig& config) : settings_(config.settings), roots_(config.pool.roots) {
  for (const ModelConfig& model : config.models) entries_.emplace_back(model);
  scan_roots();
}

void PoolEntries::scan_roots() {
  scanned_ = PoolClock::now();
  for (const std::filesystem::path& root : roots_) {
    for (const auto& [name, path] : find_models(root)) {
      if (find_model(name) != nullptr) continue;
      ModelConfig config(settings_);
      config.id = name;
      config.path = path;
      config.preload = config.pinned = false;
      entries_.emplace_back(std::move(config));
    }
  }
}

PoolEntry* PoolEntries::find_model(std::string_view name) {
  for (PoolEntry& entry : entries_) {
    const std::vector<std::string>& aliases = entry.config.aliases;
    if (entry.config.id == name || std::find(aliases.begin(), aliases.end(), name) != aliases.end())
      return &entry;
  }
  return nullptr;
}

PoolEntries::Found PoolEntries::find_known(std::string_view name) {
  if (PoolEntry* entry = find_model(name)) return {entry, {}};
  const size_t colon = name.find(':');
  if (colon != std::string_view::npos) {
    if (colon + 1 == name.size()) return {};
    PoolEntry* entry = find_model(name.substr(0, colon));
    if (entry == nullptr || colon + 1 == name.size()) return {};
    return {entry, std::string(name.substr(colon + 1))};
  }
  Found found;
  for (PoolEntry& entry : entries_) {
    if (!has_adapter(entry.config.adapters.roots, name)) continue;
    if (found.entry != nullptr) return {};  // of several models: which one is meant is not known
    found = {&entry, std::string(name)};
  }
  return found;
}

PoolEntries::Found PoolEntries::find(std::string_view name) {
  Found found = find_known(name);
  if (found.entry != nullptr || roots_.empty() || PoolClock::now() - scanned_ < kScanEvery) return found;
  scan_roots();
  return find_known(name);
}

}  // namespace llmhost::serve
