// One adapter made of several: the weighted sums that the library of the adapters' format computes, of the
// factors A and B each by itself (so cross terms arise: they are part of the definition). TIES: Yadav et al.
// 2023; DARE: Yu et al. 2024.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter_deltas.h"

namespace llmhost::engine {

enum class MergeStrategy { kLinear, kTies, kDareLinear, kDareTies };
enum class MajoritySign {
  kTotal,     // the sign of the sum
  kFrequency  // the sign that more have
};
// "linear", "ties", "dare_linear", "dare_ties"; "total", "frequency". Nothing for other texts.
std::optional<MergeStrategy> parse_merge_strategy(std::string_view text);
std::optional<MajoritySign> parse_majority_sign(std::string_view text);

struct AdapterMerge {
  struct Part {
    std::string name;
    double weight = 1;
  };
  std::vector<Part> parts;  // empty: no merge
  MergeStrategy strategy = MergeStrategy::kLinear;
  double density = 1;  // the part of the values that is kept; not of kLinear
  MajoritySign majority_sign = MajoritySign::kTotal;
  uint64_t seed = 0;  // of what is dropped at random

  void validate() const;    // throws kInvalidArgument naming the field
  std::string key() const;  // the same for the same merge
};

// `adapters` are those of merge.parts. Throws when they have more than low-rank branches, or of different
// ranks in one module.
AdapterDeltas merged(const AdapterMerge& merge, const std::vector<const AdapterDeltas*>& adapters);
AdapterDeltas merged(const AdapterMerge& merge, const std::vector<AdapterDeltas>& adapters);

}  // namespace llmhost::engine
