// One GGUF file's bytes turned into checked views. Internal to GgufFile.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "model/gguf.h"

namespace llmhost::model {

struct GgufPart {
  uint32_t version = 0;
  uint64_t alignment = 0;
  std::vector<GgufValue> metadata;
  std::vector<GgufTensor> tensors;
};

// Keeps views of `bytes` and `file`. Throws llmhost::Error on anything malformed.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}
  GgufPart parse();

 private:
  template <typename... Args>
  [[noreturn]] void fail(std::string_view field, std::string_view format, const Args&... args) const;
  uint64_t left() const { return bytes_.size() - position_; }
  const std::byte* take(uint64_t size, std::string_view field);
  template <typename T>
  T read(std::string_view field);
  std::string_view read_string(std::string_view field, uint64_t max_bytes);

  void read_header();
  void read_metadata();
  GgufValue read_value(std::string_view key);
  void skip_elements(GgufType type, uint64_t count, int depth);
  void skip_bools(uint64_t count);

  void read_alignment();
  void read_tensor_infos();
  void read_dims(GgufTensor& tensor);
  void place_tensors();
  void place(GgufTensor& tensor, uint64_t offset, std::span<const std::byte> data);

  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::string_view subject_;  // key or tensor name being read, for errors
  uint64_t position_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t metadata_count_ = 0;
  std::vector<uint64_t> offsets_;  // of the tensors, relative to the data section
  GgufPart part_;
};

}  // namespace llmhost::model
