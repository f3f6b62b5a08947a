// Weights as the device has laid them out, kept in a file from one start to the next (setting
// engine.weight_cache). The file belongs to a model by path, size, time of change and inode of its files; one
// that does not fit or is damaged is left out with one warning and written anew. Off when there is no folder
// or the backend has no layouts of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/device.h"
#include "engine/layout_file.h"
#include "llmhost/weight_layout.h"
#include "model/loader.h"

namespace llmhost::engine {

class WeightCache {
 public:
  WeightCache(const model::LoadedModel& model, const Device& device);

  // Whether weights may come out of a file: what is stored of the model then need not be read ahead.
  bool has_file() const { return uses_file_; }
  // The weight out of the file; null when it is not there. [control]
  llmh_weight* adopt(const model::GraphWeight& weight, const llmh_weight_source& source);
  // A weight that was prepared instead; it must live until store(). [control]
  void add(const model::GraphWeight& weight, const llmh_weight_source& source, const llmh_weight* prepared);
  // Writes the file when weights were added. What goes wrong is a warning. [control]
  void store();

 private:
  std::string key_of(const model::GraphWeight& weight, const llmh_weight_source& source) const;
  void give_up(const std::exception& error);

  const Device& device_;
  const llmh_weight_layout* layout_ = nullptr;  // null: off
  std::filesystem::path path_;
  std::string identity_;
  std::unique_ptr<LayoutFile> file_;
  bool uses_file_ = false;
  bool is_new_ = false;  // something is there that the file has not
  std::vector<LaidOutWeight> weights_;
};

}  // namespace llmhost::engine
