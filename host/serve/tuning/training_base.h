// What a served model lends a training job: its opened files and how it is run. The weights are read where
// they are, so a job takes memory for what it adds alone.
#pragma once

#include <filesystem>
#include <memory>

#include "core/config.h"
#include "model/loader.h"
#include "plugin/registry.h"

namespace llmhost::serve {

struct TrainingBase {
  std::shared_ptr<const plugin::Registry> registry;
  const model::LoadedModel* model = nullptr;  // lives as long as the served model
  std::filesystem::path path;                 // of the model
  Settings settings;                          // engine.*, backend.*
  std::filesystem::path adapters;             // root that the model's finished adapters go to; empty: none
};

}  // namespace llmhost::serve
