// The modules of a base model by their paths, in all the ways that adapter files write them, and which of
// them an adapter config is about. Throws llmh::Error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "llmhost/finetune.h"
#include "peft/config.h"
#include "peft/pattern.h"

namespace peft {

struct Module {
  const llmh_base_module* base = nullptr;
  uint32_t index = 0;                  // in the base model
  std::vector<std::string> spellings;  // its path, and others that files have for it
  const std::string& path() const { return spellings.front(); }
};

class ModuleTable {
 public:
  explicit ModuleTable(const llmh_base_model& base);

  const std::vector<Module>& modules() const { return modules_; }
  // Paths above modules ("model.layers.0"), each once, spelled as the modules are.
  const std::vector<std::string>& containers() const { return containers_; }

  // The module that a file means by this path: one of the spellings, or the only module that differs in
  // nothing but what stands before it ("model.", "language_model."); remembers the spelling. Null when there
  // is none.
  const Module* resolve(std::string_view path);

  // Whether it chooses among experts.
  bool is_router(const Module& module) const;

 private:
  void add(std::string_view spelling, uint32_t index);

  std::vector<Module> modules_;
  std::vector<std::string> containers_;
  std::set<std::string> routed_;  // paths of blocks with experts, with the dot at the end
  std::unordered_map<std::string, uint32_t> by_spelling_;
  std::unordered_map<std::string, std::optional<uint32_t>>
      by_core_;  // path without wrappers; empty: more than one
};

// A path with the names that the library has for it now.
std::string written_path(std::string_view path);

// Low-rank branch of a module.
struct BranchShape {
  int64_t rank = 0;
  double alpha = 0;
  float scale = 0;  // alpha / rank, or by the root of the rank
};

// Which modules the config is about.
class Selection {
 public:
  Selection(const AdapterConfig& config, const ModuleTable& table);

  // The branch of a module, or nothing.
  std::optional<BranchShape> branch(const Module& module) const;
  // Replaced whole, or part of what is.
  bool is_saved(const Module& module) const;

  // Refuses when a container or another module without weights of its own is a target.
  void check_no_container_is_target() const;
  // Refuses a key of rank_pattern or alpha_pattern that is for no branch.
  void check_patterns_match() const;

 private:
  struct Rules;
  bool is_excluded(std::string_view path) const;
  bool is_below_saved(std::string_view path) const;
  bool is_target(std::string_view path) const;
  bool is_layer_kept(std::string_view path) const;
  bool carries_branch(const Module& module) const;
  bool is_for_a_branch(const Pattern& pattern) const;

  const AdapterConfig& config_;
  const ModuleTable& table_;
  bool is_all_linear_ = false;
  int64_t vocabulary_ = 0;
  // Patterns point into the budget.
  std::unique_ptr<MatchBudget> budget_ = std::make_unique<MatchBudget>();
  std::optional<Pattern> target_pattern_;
  std::optional<Pattern> excluded_pattern_;
  std::vector<Pattern> rank_keys_;
  std::vector<Pattern> alpha_keys_;
};

}  // namespace peft
