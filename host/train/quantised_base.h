// How the frozen weights of a base are held while it is trained: as they are stored, or linears inside the
// blocks quantised when they are loaded (Dettmers et al. 2023). Private to the layer.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/adapter_sites.h"
#include "llmhost/finetune.h"
#include "model/loader.h"
#include "model/weights.h"

namespace llmhost::train {

class QuantisedBase {
 public:
  QuantisedBase(const model::LoadedModel& model, const std::vector<graph::AdapterSite>& modules,
                const llmh_base_request& request);

  // The type that a weight is held in for its uses.
  llmh_dtype dtype(std::string_view weight, uint32_t uses) const;
  model::WeightData load(std::string_view weight, uint32_t uses) const;
  // Bytes of the copy that load() makes; 0 when the file is used in place.
  uint64_t copied_bytes(std::string_view weight, uint32_t uses) const;
  // Whether it is quantised when it is loaded.
  bool is_quantised(std::string_view weight) const;
  // Whether products with it round activations to the request's compute_dtype.
  bool is_low_precision(std::string_view weight) const;

 private:
  const model::HubTensor& find(std::string_view weight) const;

  const model::LoadedModel& model_;
  llmh_base_request request_;
  std::set<std::string, std::less<>> linears_;        // that are quantised at load
  std::set<std::string, std::less<>> low_precision_;  // these and those that are stored quantised
};

}  // namespace llmhost::train
