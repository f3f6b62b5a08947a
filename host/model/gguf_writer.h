// GGUF files (version 3, little-endian), written so that no half-written file is ever seen: set the metadata
// and declare every tensor, then write their bytes in the same order in chunks of any size, then finish.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/dtype.h"
#include "model/gguf.h"

namespace llmhost::model {

// The number that GGUF files give an element type; nothing for one that they cannot hold.
std::optional<uint32_t> ggml_type_of(llmh_dtype dtype);

class GgufWriter {
 public:
  explicit GgufWriter(const std::filesystem::path& path);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  // Metadata; a key twice is kInvalidArgument.
  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, const char* value) { set(key, std::string_view(value)); }
  void set(std::string_view key, bool value);
  void set(std::string_view key, uint32_t value);
  void set(std::string_view key, uint64_t value);
  void set(std::string_view key, int32_t value);
  void set(std::string_view key, float value);
  void set(std::string_view key, std::span<const std::string> values);
  void set(std::string_view key, std::span<const int32_t> values);
  void set(std::string_view key, std::span<const float> values);
  void set(std::string_view key, const std::vector<bool>& values);
  void set_bytes(std::string_view key, std::span<const std::byte> values);  // an array of u8
  // An entry of another file as it is.
  void copy(const GgufValue& value);

  // `shape` row-major, at most four dimensions.
  void declare(std::string_view name, llmh_dtype dtype, std::span<const int64_t> shape);
  void write(std::span<const std::byte> bytes);
  // Throws kFailedPrecondition when the bytes written are not what was declared.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace llmhost::model
