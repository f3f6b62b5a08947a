// Sparse adapters: y + x S^T with S zero outside of a fixed set of entries, whose values are trained. Files
// are PEFT's. Throws llmh::Error.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "llmhost/finetune.hpp"
#include "peft/choice.h"
#include "peft/config.h"

namespace sparse {

struct ShiraOptions {
  bool by_magnitude = false;  // the entries of largest |w|; else at random
  uint64_t seed = 0;
};

class ShiraTraining {
 public:
  ShiraTraining(peft::AdapterConfig config, const ShiraOptions& options);
  // Goes on from an adapter, with its entries.
  explicit ShiraTraining(const llmh_adapter_source& source);

  void begin(const llmh_base_model& model);
  const peft::Choice& choice() const { return *choice_; }
  llmh::Tensor rewrite(llmh::Graph& graph, const llmh::Linear& linear) const;
  std::string config_json() const;
  bool file_tensor(uint32_t index, llmh_file_tensor& out) const;

 private:
  // The entries of one module.
  struct Entries {
    std::vector<int32_t> flat;   // row-major in [out, in], ascending when they were chosen here
    std::vector<int32_t> table;  // [2, k] as the file has it
    std::string file_name;
  };
  struct Stored {
    std::string path;
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> data;
  };
  std::vector<int32_t> chosen_entries(const llmh_base_model& model, uint32_t module, int64_t count) const;
  std::vector<int32_t> stored_entries(const llmh_base_module& base, int64_t count) const;

  peft::AdapterConfig config_;
  ShiraOptions options_;
  std::vector<Stored> stored_;  // index tensors of the adapter that is gone on from
  bool is_stored_ = false;
  std::unique_ptr<peft::Choice> choice_;
  std::map<uint32_t, Entries> entries_;  // by module
};

// What such an adapter does to each module (llmh_serving_delta::read): a whole weight.
void read_shira(const llmh_adapter_source& source, const llmh_base_model& model, llmh_delta_sink& sink);

}  // namespace sparse
