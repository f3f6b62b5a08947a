// Adapters: changes to single modules of a model, for the tokens of those requests that ask for one. What an
// adapter does is read by the plugin of its method; the host knows modules and deltas only.
//
// The host must outlive nothing but its own calls: an adapter gives its memory on the device back with the
// last shared_ptr, before which neither the device nor the model may go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/adapter_deltas.h"
#include "engine/adapter_folder.h"
#include "engine/adapter_reader.h"
#include "engine/base_model.h"
#include "engine/device.h"
#include "engine/model_stack.h"
#include "plugin/registry.h"

namespace llmhost::engine {

// Immutable; all functions are [thread-safe].
class Adapter {
 public:
  ~Adapter();
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  const std::string& name() const { return name_; }
  // SHA-256 (hex) of what it was made from: what is computed with it is kept under this, not under its name.
  const std::string& digest() const { return digest_; }
  uint64_t bytes() const { return bytes_; }  // on the device
  int32_t max_rank() const { return max_rank_; }
  const std::vector<std::string>& notes() const { return notes_; }
  const llmh_adapter* handle() const { return handle_; }
  // Whether steps of this runner may have it.
  bool fits(const ModelRunner& runner) const;

 private:
  friend class AdapterHost;
  Adapter(const Device& device, const model::LoadedModel& model, const llmh_adapters& api);

  const Device& device_;
  const model::LoadedModel& model_;
  const llmh_adapters& api_;
  std::string name_;
  std::string digest_;
  uint64_t bytes_ = 0;
  int32_t max_rank_ = 0;
  std::vector<std::string> notes_;
  llmh_adapter* handle_ = nullptr;
};

struct AdapterHostOptions {
  uint64_t max_bytes = uint64_t{8} << 30;  // of one adapter, in files and on the device
  bool checks_receipts = true;
};

// Makes adapters for one model on one device. All const functions are [thread-safe], also while steps run.
class AdapterHost {
 public:
  // The stack was made with RunnerOptions::max_adapter_rank > 0. Stack and registry must outlive it. Throws
  // kFailedPrecondition for a stack that was not.
  AdapterHost(const ModelStack& stack, const plugin::Registry& registry,
              const AdapterHostOptions& options = {});

  // The modules of the model, by whose order deltas are numbered.
  const std::vector<graph::AdapterSite>& sites() const { return stack_.adapter_sites(); }

  // Reads a folder. `name` is what errors call the adapter, not its place. Throws an Error of one line.
  AdapterDeltas read(const AdapterFolder& folder, const std::string& name) const;
  // What prepare() will take on the device.
  uint64_t device_bytes(const AdapterDeltas& deltas) const;
  // Gives them to the device.
  std::shared_ptr<const Adapter> prepare(const AdapterDeltas& deltas, const std::string& name) const;
  // Both; the name is the folder's.
  std::shared_ptr<const Adapter> load(const std::filesystem::path& folder) const;

 private:
  const ModelStack& stack_;
  AdapterHostOptions options_;
  const llmh_adapters& api_;
  AdapterReader reader_;
};

}  // namespace llmhost::engine
