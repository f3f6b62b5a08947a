#include "serve/api/response_store.h"

#include <algorithm>

namespace llmhost::serve {
namespace {

auto find(auto& entries, std::string_view id, uint64_t tenant) {
  return std::find_if(entries.begin(), entries.end(),
                      [&](const StoredResponse& r) { return r.tenant == tenant && r.id == id; });
}

}  // namespace

void ResponseStore::put(StoredResponse response) {
  const std::lock_guard lock(mutex_);
  bytes_ += size_of(response);
  entries_.push_front(std::move(response));
  while (entries_.size() > max_entries_ || bytes_ > max_bytes_) {
    bytes_ -= size_of(entries_.back());
    entries_.pop_back();
  }
}

std::optional<StoredResponse> ResponseStore::get(std::string_view id, uint64_t tenant) const {
  const std::lock_guard lock(mutex_);
  const auto found = find(entries_, id, tenant);
  return found == entries_.end() ? std::nullopt : std::optional(*found);
}

bool ResponseStore::erase(std::string_view id, uint64_t tenant) {
  const std::lock_guard lock(mutex_);
  const auto found = find(entries_, id, tenant);
  if (found == entries_.end()) return false;
  bytes_ -= size_of(*found);
  entries_.erase(found);
  return true;
}

}  // namespace llmhost::serve
