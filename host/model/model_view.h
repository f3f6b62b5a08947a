// The llmh_model table that architecture plugins read a checkpoint through: typed getters over the config, a
// list of tensors by Hub name. It remembers which keys were read, so that the loader can tell what nobody
// understood.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "llmhost/arch.h"

namespace llmhost::model {

// Shape of the tensor with a Hub name, or nullopt.
using TensorShapeLookup = std::function<std::optional<std::vector<int64_t>>(std::string_view hub_name)>;

// [control]; the config must outlive the view. Key paths are dotted; a key that itself holds dots is found
// whole.
class ModelView {
 public:
  // `format` is LLMH_FORMAT_*; `source` names the config in errors. `tensor_names` are the stored ones, and
  // point at what outlives the view.
  ModelView(const Json& config, std::string source, int32_t format, TensorShapeLookup tensors,
            std::vector<std::string_view> tensor_names = {});
  ModelView(const ModelView&) = delete;
  ModelView& operator=(const ModelView&) = delete;

  const llmh_model* table() const { return &table_.base; }

  // Forgets what was read (matching reads keys without understanding them).
  void forget_reads();
  // Leaves of the config that nobody read or ignored and that are not null or empty, as dotted paths.
  std::vector<std::string> unread_keys() const;
  // One line for each key that was asked for as another type than it has.
  const std::vector<std::string>& type_errors() const { return type_errors_; }
  const std::string& source() const { return source_; }

 private:
  struct Table {
    llmh_model base;
    ModelView* owner;
  };
  struct Thunks;

  const Json* locate(std::string_view key) const;  // null when absent or null
  const Json* find(std::string_view key);          // the same, and counts as read
  int32_t wrong_type(std::string_view key, const Json& value, std::string_view wanted);
  void collect_unread(const Json& value, const std::string& path, std::vector<std::string>& out) const;

  const Json& config_;
  std::string source_;
  TensorShapeLookup tensors_;
  std::vector<std::string_view> tensor_names_;
  std::set<std::string, std::less<>> read_;     // leaves
  std::set<std::string, std::less<>> ignored_;  // whole subtrees
  std::vector<std::string> type_errors_;
  Table table_;
};

}  // namespace llmhost::model
