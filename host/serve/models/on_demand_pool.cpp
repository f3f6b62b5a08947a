#include "serve/models/on_demand_pool.h"

#include "serve/models/pool_core.h"

namespace llmhost::serve {

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
std::shared_ptr<ServedModel> OnDemandPool::loaded(std::string_view id) {
  return core_->loaded(id);
}

}  // namespace llmhost::serve
