// Adapter folders read by the plugin of their method, for one model; no device is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/adapter_deltas.h"
#include "engine/adapter_folder.h"
#include "engine/base_model.h"
#include "engine/receipt.h"
#include "plugin/registry.h"

namespace llmhost::engine {

// [thread-safe]. The registry must outlive it.
class AdapterReader {
 public:
  // With `checks_receipts` an adapter that says what it was trained with is refused for any other model.
  AdapterReader(std::shared_ptr<const BaseModel> base, const plugin::Registry& registry, uint64_t max_bytes,
                bool checks_receipts = true);

  // `name` is what errors call the adapter, not its place. Throws an Error of one line.
  AdapterDeltas read(const AdapterFolder& folder, const std::string& name) const;

 private:
  void check_receipt_of(const AdapterFolder& folder) const;
  const llmh_serving_delta& method_for(const std::string& config) const;

  std::shared_ptr<const BaseModel> base_;
  std::vector<plugin::Plugin*> methods_;
  uint64_t max_bytes_;
  bool checks_receipts_;
  // Of the model, when the first adapter with a receipt is read.
  mutable std::once_flag is_identified_;
  mutable ModelIdentity identity_;
};

// Nothing when the folder has none.
std::optional<Receipt> read_receipt(const AdapterFolder& folder);

// Runs `fn`; an error is told of the adapter.
[[noreturn]] void rethrow_told_of(const std::string& adapter);

template <typename Fn>
auto told_of(const std::string& adapter, Fn&& fn) {
  try {
    return fn();
  } catch (...) {
    rethrow_told_of(adapter);
  }
}

}  // namespace llmhost::engine
