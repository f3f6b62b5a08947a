// A model's modules as fine-tuning plugins see them (llmh_base_model): paths, sizes, what is known of their
// weights, and the weights themselves.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/adapter_sites.h"
#include "llmhost/finetune.h"
#include "model/layout_steps.h"
#include "model/loader.h"

namespace llmhost::engine {

// Immutable, [thread-safe]. The model must outlive it.
class BaseModel {
 public:
  // `sites`: all modules, as graph::modules_of() or with_adapter_sites() list them for this model's graph.
  // kNoSite: what adapters could change and is no site of this graph is fixed, too.
  enum class Fixed { kByKind, kNoSite };
  // `reader`, where there is one, gives a module's weight in f32: of a base that is held otherwise than it is
  // stored.
  using WeightReader = std::function<model::WeightData(const graph::AdapterSite&)>;
  BaseModel(const model::LoadedModel& model, std::vector<graph::AdapterSite> sites,
            Fixed fixed = Fixed::kNoSite, WeightReader reader = {});
  BaseModel(const BaseModel&) = delete;
  BaseModel& operator=(const BaseModel&) = delete;

  const llmh_base_model* table() const { return &table_.base; }
  const model::LoadedModel& model() const { return model_; }
  const std::vector<graph::AdapterSite>& sites() const { return sites_; }  // in the order of the modules

 private:
  struct Table {
    llmh_base_model base;
    const BaseModel* owner;
  };
  const model::HubTensor* find(const graph::AdapterSite& site) const;
  llmh_base_module describe(const graph::AdapterSite& site, Fixed fixed) const;
  static llmh_status* read_weight(const llmh_base_model* table, uint32_t module, float* out);

  const model::LoadedModel& model_;
  std::vector<graph::AdapterSite> sites_;
  WeightReader reader_;
  std::string name_;
  std::vector<llmh_base_module> modules_;
  std::vector<const llmh_base_module*> pointers_;
  Table table_;
};

// The flags of a module that its path and its place in the graph decide.
uint32_t place_flags(const graph::AdapterSite& site);

}  // namespace llmhost::engine
