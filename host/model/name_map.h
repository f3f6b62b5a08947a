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
  std::vector<int64_t> shape;         // after the layout
  int32_t layout = LLMH_LAYOUT_SAME;  // LLMH_LAYOUT_*: from stored to Hub
  int64_t arg0 = 0;
  int64_t arg1 = 0;
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
    int32_t layout;
    int64_t arg0;
    int64_t arg1;
  };
  struct Table {
    llmh_name_sink base;
    NameMap* owner;
  };
  struct Thunks;

  void add_rule(Rule rule);

  std::vector<Rule> rules_;
  std::vector<std::string> ignored_;
  Table table_;
};

// The digits that "{i}" stands for when `name` fits `pattern`; an empty string when the pattern has no "{i}".
std::optional<std::string> match_pattern(std::string_view pattern, std::string_view name);

}  // namespace llmhost::model
