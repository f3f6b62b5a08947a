// What an adapter does to the modules of a model, on the host: read from a folder by the plugin of its
// method, or merged from others.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/adapter_sites.h"
#include "llmhost/backend.h"
#include "llmhost/finetune.h"

namespace llmhost::engine {

// See llmh_module_delta: an empty vector is an absent field.
struct ModuleDelta {
  uint32_t module = 0;  // index in the sites of the model
  int32_t rank = 0;
  float scale = 0;
  std::vector<float> a;          // [r,K]
  std::vector<float> b;          // [N,r]
  std::vector<float> b_bias;     // [N]
  std::vector<float> row_scale;  // [N]
  std::vector<float> weight;     // [N,K], a table [K,N], a norm's [D]
  std::vector<float> bias;       // [N]
};

struct AdapterDeltas {
  std::vector<ModuleDelta> modules;  // each module at most once
  std::vector<std::string> notes;    // one line each: what was ignored, and why
  std::string digest;                // SHA-256 (hex) of what they were made from

  int32_t max_rank() const;
};

// Takes deltas from a plugin, copies them and checks them against the modules: what a plugin gets wrong never
// reaches a backend.
class DeltaCollector {
 public:
  // Both must outlive it.
  DeltaCollector(const std::vector<graph::AdapterSite>& sites, AdapterDeltas& out);
  llmh_delta_sink* sink() { return &table_.base; }

 private:
  struct Table {
    llmh_delta_sink base;
    DeltaCollector* owner;
  };
  void add(const llmh_module_delta& delta);

  const std::vector<graph::AdapterSite>& sites_;
  AdapterDeltas& out_;
  std::vector<bool> is_given_;  // by module
  Table table_;
};

// The deltas as a backend wants them; points into `deltas`.
std::vector<llmh_site_delta> site_deltas(const AdapterDeltas& deltas,
                                         const std::vector<graph::AdapterSite>& sites);

}  // namespace llmhost::engine
