// The pool of a server. One thread loads, one model after the other; requests for a model that is not there
// share its load. What is loaded counts with its planned bytes against the budget.
//
// Room for a model is made by unloading others, least recently used first, never pinned ones and never one
// that is held. When held models leave no room, their release is waited for; after kPatience the least
// recently used of them takes no new requests until it is gone, so that a busy model cannot keep others out.
// A load that failed is not tried again for kRetryAfter.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/models/configuration.h"
#include "serve/models/model_loader.h"
#include "serve/models/model_pool.h"

namespace llmhost::serve {

class PoolCore;

class OnDemandPool final : public ModelPool {
 public:
  static constexpr std::chrono::milliseconds kPatience{2000};
  static constexpr std::chrono::seconds kRetryAfter{10};

  OnDemandPool(const ServeConfig& config, std::unique_ptr<ModelLoader> loader);
  // Stops every model; what runs is cancelled.
  ~OnDemandPool() override;
  OnDemandPool(const OnDemandPool&) = delete;
  OnDemandPool& operator=(const OnDemandPool&) = delete;

  // Begins to load, first what is to be there from the start. Once.
  void start();

  uint64_t acquire(std::string_view name, Ready ready) override;
  void forget(uint64_t ticket) override;
  std::vector<ModelStatus> list() const override;
  uint64_t memory_budget() const override;
  uint64_t memory_used() const override;
  bool is_ready() const override;
  void load(std::string_view id) override;
  void unload(std::string_view id) override;

  // The model if it is loaded, else null; begins nothing. Throws kNotFound.
  std::shared_ptr<ServedModel> loaded(std::string_view id);

  // What a model would take if it were loaded with these limits; 0: its own.
  struct Limits {
    int64_t context = 0;
    int64_t sequences = 0;
  };
  struct Needs {
    uint64_t bytes = 0;          // all together
    uint64_t adapter_bytes = 0;  // of them for adapters
    engine::MemoryPlan plan;
  };
  // Calls `planned` once, from the loading thread, which has to open the model for it. Throws kNotFound, or
  // kResourceExhausted when too many ask.
  using Planned = std::function<void(const Needs& needs, const std::exception_ptr& error)>;
  void estimate(std::string_view id, const Limits& limits, Planned planned);

  // Why a model that is to be there from the start is not; null: nothing went wrong so far.
  std::exception_ptr preload_failure() const;

 private:
  std::shared_ptr<PoolCore> core_;  // leases of models keep it
};

}  // namespace llmhost::serve
