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
  const CheckpointTensor* stored = nullptr;
  std::vector<int64_t> shape;           // after the steps
  std::vector<llmh_layout_step> steps;  // from stored to Hub, in order
};

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

  // Applies the rules to every stored tensor. Two stored tensors for one Hub name are an error, as is a
  // layout that does not fit the tensor's shape.
  std::map<std::string, HubTensor, std::less<>> apply(const Checkpoint& checkpoint) const;

  bool is_ignored(std::string_view stored_name) const;

 private:
  struct Rule {
    std::string hub;
    std::string stored;
    std::vector<llmh_layout_step> steps;
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
