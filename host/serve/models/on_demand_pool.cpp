#include "serve/models/on_demand_pool.h"

#include <algorithm>
#include <cctype>

#include "serve/models/pool_core.h"

namespace llmhost::serve {
namespace {

bool is_path_character(char c) {
  return std::isspace(static_cast<unsigned char>(c)) == 0 &&
         std::string_view("'\",;()[]").find(c) == std::string_view::npos;
}

}  // namespace

std::string without_paths(std::string message, const std::filesystem::path& path, std::string_view id) {
  for (const std::string& known :
       {path.string(), std::filesystem::absolute(path).lexically_normal().string()})
    for (size_t at = 0; !known.empty() && (at = message.find(known, at)) != std::string::npos;
         at += id.size())
      message.replace(at, known.size(), id);
  for (size_t at = 0; (at = message.find('/', at)) != std::string::npos;) {
    const bool begins = at == 0 || !is_path_character(message[at - 1]);
    size_t end = at;
    while (end < message.size() && is_path_character(message[end])) ++end;
    const size_t last = message.rfind('/', end - 1);
    if (begins && last > at) message.erase(at, last + 1 - at), end = at;
    at = std::max(end, at + 1);
  }
  return message;
}

OnDemandPool::OnDemandPool(const ServeConfig& config, std::unique_ptr<ModelLoader> loader)
    : core_(std::make_shared<PoolCore>(config, std::move(loader))) {}

OnDemandPool::~OnDemandPool() {
  core_->stop();
}

void OnDemandPool::start() {
  core_->start();
}
uint64_t OnDemandPool::acquire(std::string_view name, Ready ready) {
  return core_->acquire(name, std::move(ready));
}
void OnDemandPool::forget(uint64_t ticket) {
  core_->forget(ticket);
}
std::vector<ModelStatus> OnDemandPool::list() const {
  return core_->list();
}
uint64_t OnDemandPool::memory_budget() const {
  return core_->budget();
}
uint64_t OnDemandPool::memory_used() const {
  return core_->used();
}
bool OnDemandPool::is_ready() const {
  return core_->is_ready();
}
void OnDemandPool::estimate(std::string_view id, const Limits& limits, Planned planned) {
  core_->estimate(id, limits, std::move(planned));
}
std::exception_ptr OnDemandPool::preload_failure() const {
  return core_->preload_failure();
}
void OnDemandPool::load(std::string_view id) {
  core_->load(id);
}
void OnDemandPool::unload(std::string_view id) {
  core_->unload(id);
}

}  // namespace llmhost::serve
