// How stored tensor names become Hub names: the rules an architecture plugin gives, applied to a checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/arch.h"
#include "model/checkpoint.h"

namespace llmhost::model {

// A tensor as the architecture knows it, and where its bytes are.
struct HubTensor {
  std::vector<const CheckpointTensor*> parts;  // the stored tensor, or those that are stacked, in order
  std::vector<llmh_layout_step> steps;         // from each part on, in order
  bool stacked = false;                        // along a new first dimension
  std::vector<int64_t> shape;                  // after the steps, stacked
  // After the steps: the parts' own, or F32 where they differ or a step takes quantised blocks apart. INVALID
  // when a part's is.
  llmh_dtype dtype = LLMH_DTYPE_INVALID;

  const CheckpointTensor& first() const { return *parts.front(); }
  uint64_t stored_bytes() const;  // of all parts, in the files
};

// One stored tensor after the steps. Throws where they do not fit.
HubTensor hub_tensor(const CheckpointTensor& stored, const std::vector<llmh_layout_step>& steps);

// The digits that "{i}" and "{j}" stand for; empty where the pattern has none.
struct NameIndices {
  std::string i;
  std::string j;
  bool operator==(const NameIndices&) const = default;
};

// Collects rules through the llmh_name_sink table [control], then maps.
class NameMap {
 public:
  NameMap();
  NameMap(const NameMap&) = delete;
  NameMap& operator=(const NameMap&) = delete;

  llmh_name_sink* sink() { return &table_.base; }

  // Applies the rules to every stored tensor. Two stored tensors for one Hub name are an error, as are a
  // layout that does not fit the tensor's shape, and a stack with a gap or with parts of different shapes.
  std::map<std::string, HubTensor, std::less<>> apply(const Checkpoint& checkpoint) const;

  bool is_ignored(std::string_view stored_name) const;

  // What a tensor that is not there would be stored as: by the first rule that makes it, else as itself.
  // The index of what is stacked stays "{j}".
  std::string stored_name(std::string_view hub_name) const;

  // All ways to store a Hub tensor, in the order of the rules.
  struct StoredForm {
    std::string name;
    std::vector<llmh_layout_step> steps;  // from the stored to the Hub's
    bool stacks = false;                  // one of several, whose index stays "{j}"
  };
  std::vector<StoredForm> stored_forms(std::string_view hub_name) const;

 private:
  struct Rule {
    std::string hub;
    std::string stored;
    std::vector<llmh_layout_step> steps;
    bool stacks = false;  // the stored name has an index of its own: {j}
  };
  struct Table {
    llmh_name_sink base;
    NameMap* owner;
  };
  struct Thunks;

  void add_rule(const llmh_name_rule& rule);

  std::vector<Rule> rules_;
  std::vector<std::string> ignored_;
  Table table_;
};

// Nothing when `name` does not fit `pattern`.
std::optional<NameIndices> match_pattern(std::string_view pattern, std::string_view name);

}  // namespace llmhost::model
