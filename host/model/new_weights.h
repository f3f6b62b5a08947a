// Other values for weights of a model, and the model written with them in the format, under the names and in
// the layouts it is stored in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "model/loader.h"
#include "model/name_map.h"

namespace llmhost::model {

class NewWeights {
 public:
  virtual ~NewWeights() = default;
  // Of a Hub tensor: whether it has other values than the stored ones, and all of them in f32.
  virtual bool has(const std::string& hub_name) const = 0;
  virtual std::vector<float> get(const std::string& hub_name) const = 0;
  // A head of its own for a model whose head is its embedding: its Hub name; empty: none. get() has it.
  virtual std::string untied_head() const { return {}; }
};

struct WriteModelOptions {
  // Of all floating-point tensors, in GGUF files of all matrices. INVALID: each as it is stored; what is
  // stored quantised in several parts (nf4, GPTQ, …) becomes what the config names, else bf16.
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  ThreadPool* threads = nullptr;                 // may be null
  std::function<void(uint64_t bytes)> progress;  // bytes of the stored model that are done; may be empty
};

// Bytes that progress adds up to.
uint64_t bytes_to_write(const LoadedModel& model);

// Into the empty folder `folder`: config, tokenizer, templates and weights of a Hub model; model.gguf of a
// GGUF file. `names` are the model's rules for its own format. Throws kInvalidArgument naming the tensor for
// a value that its type cannot hold.
void write_model(const LoadedModel& model, const NameMap& names, const NewWeights& weights,
                 const std::filesystem::path& folder, const WriteModelOptions& options);

// The rules by which an architecture names tensors in a format (LLMH_FORMAT_*), be it the model's own or
// not. [control]
void read_names(const LoadedModel& model, const plugin::Registry& registry, int32_t format, NameMap& out);

}  // namespace llmhost::model
