// The linears of a feed-forward block, as inference found them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "infer_state.h"

namespace declarative {

// Spellings, the commonest first.
extern const std::vector<std::string> kGateNames, kUpNames, kDownNames, kFusedNames;

struct MlpParts {
  std::string gate, up, down, fused;  // below the block's module; fused: one linear for gate and up
  int64_t width = 0;
  bool is_whole() const { return !down.empty() && (!up.empty() || !fused.empty()); }
};

// What of it is there in the module `parent` of the layers, by names and shapes.
MlpParts find_mlp(const Inference& in, const std::string& parent);
// Writes and claims it; `what` is its name among the choices.
void write_mlp(Inference& in, Draft& section, const std::string& parent, const MlpParts& parts,
               const std::string& what);

}  // namespace declarative
