// From a model path to a graph: picks the architecture plugin, lets it read the config and build, and audits
// what was left over. Nothing is silently wrong: every stored tensor is used or named as ignorable, every
// config key that may change the maths is understood, or the load is refused with the list.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "llmhost/arch.h"
#include "model/checkpoint.h"
#include "model/name_map.h"
#include "model/recipe.h"
#include "plugin/registry.h"

namespace llmhost::model {

struct LoadOptions {
  std::string arch;          // id of the architecture plugin; empty: the one that matches the config
  bool best_effort = false;  // what the audit finds is logged as a warning instead of refused
};

// A weight of the graph and where it comes from.
struct GraphWeight {
  llmh_tensor tensor = LLMH_NO_TENSOR;
  std::string name;         // Hub name
  const HubTensor* source;  // valid as long as the LoadedModel
  uint32_t uses = 0;        // LLMH_USE_* by the nodes that read it
};

// Immutable once loaded; const functions are [thread-safe].
class LoadedModel {
 public:
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::string& arch_id() const { return arch_id_; }
  const llmh_model_info& info() const { return info_; }
  const std::vector<llmh_state_spec>& states() const { return states_; }
  // As the architecture built it, before any pass.
  const graph::Graph& graph() const { return graph_; }
  // Weights of any graph that was made from graph() by passes, in order of their tensors.
  std::vector<GraphWeight> weights_of(const graph::Graph& graph) const;
  const std::map<std::string, HubTensor, std::less<>>& tensors() const { return tensors_; }
  // Nobody described the model type: the architecture read it off the checkpoint.
  bool is_inferred() const { return is_inferred_; }
  // How the architecture worked it out, and the same as a description to edit; empty when it has none to
  // tell.
  const std::vector<RecipeChoice>& recipe() const { return recipe_.choices; }
  const std::string& recipe_text() const { return recipe_.text; }
  // Why results may be wrong: what the audit found and best_effort let pass, and guesses of an inferred
  // recipe.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  friend class Loader;
  explicit LoadedModel(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}

  Checkpoint checkpoint_;
  std::string arch_id_;
  llmh_model_info info_{};
  std::vector<llmh_state_spec> states_;
  std::map<std::string, HubTensor, std::less<>> tensors_;
  graph::Graph graph_;
  bool is_inferred_ = false;
  Recipe recipe_;
  std::vector<std::string> warnings_;
};

// Throws Error with the file and the key or tensor. [control]
std::unique_ptr<LoadedModel> load_model(const std::filesystem::path& path, const plugin::Registry& registry,
                                        const LoadOptions& options = {});

}  // namespace llmhost::model
