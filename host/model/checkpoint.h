// One view of a stored model, whatever its format: a folder with config.json and safetensors (one file or
// shards with an index), a single .safetensors file, or GGUF (single or split; a file, or a folder that holds
// just one model). Weights are views of the mapping: nothing is copied. Those that a quantised Hub checkpoint
// stores in parts are decoded when they are loaded.
//
// Views and references live as long as the Checkpoint (moving it is fine). All const functions are
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/dtype.h"
#include "model/generation_config.h"

namespace llmhost::model {

class GgufFile;

enum class CheckpointFormat { kSafetensors, kGguf };

// Makes the data of a tensor that is stored in several parts (packed integers, scales, zero points).
// [thread-safe]
class TensorDecoder {
 public:
  virtual ~TensorDecoder() = default;
  // `out` is as long as the tensor in its dtype.
  virtual void decode(std::span<std::byte> out) const = 0;
};

struct CheckpointTensor {
  std::string_view name;  // as stored
  std::string_view file;
  std::string stored_type;                                 // "BF16", "q4_k", "ggml type 16"
  llmh_dtype dtype = LLMH_DTYPE_INVALID;                   // INVALID: listed, but data() refuses it
  std::vector<int64_t> shape;                              // row-major: the contiguous dimension last
  std::span<const std::byte> bytes;                        // any alignment; of no use when dtype is INVALID
  std::shared_ptr<const TensorDecoder> decoder = nullptr;  // null: the data are `bytes`
  uint64_t part_bytes = 0;                                 // of all parts that the decoder reads

  int64_t element_count() const;
  // In the files.
  uint64_t stored_bytes() const { return decoder != nullptr ? part_bytes : bytes.size(); }
  // Throws kUnimplemented with the stored type when dtype is INVALID or a decoder is needed.
  std::span<const std::byte> data() const;
};

class Checkpoint {
 public:
  static Checkpoint open(const std::filesystem::path& path);

  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  CheckpointFormat format() const;
  const std::filesystem::path& path() const;                // as given to open()
  const std::filesystem::path& folder() const;              // where config, tokenizer and templates lie
  const std::vector<std::filesystem::path>& files() const;  // that hold the weights

  // Puts the weights that a quantised Hub checkpoint stores in parts together: from here on tensors() has
  // them in place of the parts. Views taken before become invalid. See quantised.h for what is refused.
  void join_quantised();
  // The key of config() that join_quantised went by (empty: nothing is quantised), and what it did not
  // understand below that key.
  const std::string& quantisation_key() const;
  const std::vector<std::string>& unread_quantisation_keys() const;

  std::span<const CheckpointTensor> tensors() const;
  // Null when absent.
  const CheckpointTensor* find(std::string_view name) const;
  uint64_t weight_bytes() const;  // of all tensors
  uint64_t file_bytes() const;    // of all files()

  // config.json, or GGUF metadata in its vocabulary (gguf_config.h). Throws kNotFound when a lone safetensors
  // file has no config.json beside it.
  const nlohmann::json& config() const;
  // What to call a key of config() in an error: "hidden_size", or the GGUF key it came from.
  std::string_view config_source(std::string_view key) const;
  // The file that config() was read from.
  const std::string& config_file() const;
  // generation_config.json completed from config(); empty when neither says anything.
  const GenerationConfig& generation_config() const;

  // Null unless the format is kGguf.
  const GgufFile* gguf() const;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Reads config.json or generation_config.json: an object, with limits that no honest config comes near.
nlohmann::json read_model_config(const std::filesystem::path& path);
nlohmann::json parse_model_config(std::string_view text, std::string_view source);

}  // namespace llmhost::model
