// Loads models from files onto this machine's devices.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/config.h"
#include "plugin/registry.h"
#include "serve/models/device_turn.h"
#include "serve/models/model_loader.h"

namespace llmhost::serve {

// Defaults of serving, where the settings say nothing.
inline constexpr int32_t kServedSequences = 32;

class HostLoader final : public ModelLoader {
 public:
  // Settings plugins.*, archs.* and, for free_memory(), backend.*.
  explicit HostLoader(const Settings& settings);

  std::unique_ptr<PlannedModel> plan(const ModelConfig& config, uint64_t room) override;
  uint64_t free_memory() override;
  const std::shared_ptr<const plugin::Registry>& registry() const { return registry_; }

 private:
  std::shared_ptr<DeviceTurn> turn_of(const Settings& settings);

  Settings settings_;
  std::shared_ptr<const plugin::Registry> registry_;
  std::map<std::string, std::shared_ptr<DeviceTurn>> turns_;  // by backend and device
};

}  // namespace llmhost::serve
