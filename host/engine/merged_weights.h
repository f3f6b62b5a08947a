// A model's weights as adapters change them, for a model that needs the adapters no more.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/thread_pool.h"
#include "engine/adapter_deltas.h"
#include "graph/adapter_sites.h"
#include "model/new_weights.h"

namespace llmhost::engine {

class MergedWeights final : public model::NewWeights {
 public:
  struct Part {
    std::string name;  // for errors
    AdapterDeltas deltas;
  };

  // `sites`: all modules of the model, those that adapters can change as sites. Model, sites and threads must
  // outlive it. Low-rank branches of several adapters add up; throws kInvalidArgument where adapters exclude
  // each other, and for a branch's bias in a module that has none to take it.
  MergedWeights(const model::LoadedModel& model, const std::vector<graph::AdapterSite>& sites,
                std::vector<Part> parts, ThreadPool* threads);

  bool has(const std::string& hub_name) const override { return changed_.contains(hub_name); }
  std::vector<float> get(const std::string& hub_name) const override;
  size_t size() const { return changed_.size(); }  // tensors that change
  std::string untied_head() const override { return untied_head_; }

 private:
  struct Change {
    std::string weight;  // Hub name of what it starts as
    const graph::AdapterSite* site = nullptr;
    bool is_bias = false;
    std::vector<const ModuleDelta*> deltas;  // in order; empty: the weight as it is
  };

  void add(const graph::AdapterSite& site, const std::string& adapter, const ModuleDelta& delta);
  void add_bias(const graph::AdapterSite& site, const std::string& adapter, const ModuleDelta& delta);
  void untie(const graph::AdapterSite& head);
  std::vector<float> base(const std::string& hub_name) const;
  void apply_weight(const graph::AdapterSite& site, const ModuleDelta& delta,
                    std::vector<float>& values) const;
  void add_branch(const graph::AdapterSite& site, const ModuleDelta& delta, std::vector<float>& values) const;

  const model::LoadedModel& model_;
  const std::vector<graph::AdapterSite>& sites_;
  std::vector<Part> parts_;
  ThreadPool* threads_;
  std::map<std::string, Change> changed_;  // by Hub name
  std::string untied_head_;
};

}  // namespace llmhost::engine
