// Safetensors files: read through a mapping (nothing is copied), written so that no half-written file is ever
// seen.
//
// Opening checks the whole header as the reference implementation does: sizes agree with shapes, tensors
// cover the data without overlaps and holes. A bad file throws llmhost::Error with one line that names the
// file and the tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/dtype.h"

namespace llmhost::model {

// "BF16" and so on; LLMH_DTYPE_INVALID for a name that this project does not read.
llmh_dtype safetensors_dtype(std::string_view name);
// Empty for a type that safetensors cannot hold.
std::string_view safetensors_dtype_name(llmh_dtype dtype);

struct SafetensorsTensor {
  std::string name;
  std::string_view file;
  std::string dtype_name;                 // as stored
  llmh_dtype dtype = LLMH_DTYPE_INVALID;  // INVALID: listed, but data() refuses it
  std::vector<int64_t> shape;
  const std::byte* begin = nullptr;  // any alignment
  uint64_t size_bytes = 0;

  // Throws kUnimplemented with the type's name when dtype is INVALID.
  std::span<const std::byte> data() const;
};

// Views live as long as the object (moving it is fine). All const functions are thread-safe.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path);
  // Reads from memory that outlives the result; `name` stands for the path in errors.
  static SafetensorsFile from_bytes(std::span<const std::byte> bytes, std::string_view name);

  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& name() const;
  uint64_t file_bytes() const;
  // The strings of `__metadata__`.
  const std::map<std::string, std::string>& metadata() const;
  // In the order of their data.
  std::span<const SafetensorsTensor> tensors() const;
  // Null when absent.
  const SafetensorsTensor* find(std::string_view name) const;

 private:
  struct State;
  explicit SafetensorsFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Writes one file: declare every tensor, then write their bytes in the same order in chunks of any size, then
// finish. The file appears under its name only in finish(); an unfinished writer leaves nothing behind.
class SafetensorsWriter {
 public:
  explicit SafetensorsWriter(const std::filesystem::path& path);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  void set_metadata(const std::string& key, const std::string& value);
  void declare(const std::string& name, llmh_dtype dtype, std::span<const int64_t> shape);
  void write(std::span<const std::byte> bytes);
  // Throws kFailedPrecondition when the bytes written are not what was declared.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct SafetensorsEntry {
  std::string name;
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

// Declares, writes and finishes; wider element types come first, which keeps every tensor aligned.
void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace llmhost::model
