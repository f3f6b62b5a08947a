// GGUF files (versions 2 and 3, little-endian; single or split), read through a mapping: nothing is copied.
//
// Opening checks everything that is stored: every length, offset and size lies inside the file, keys and
// names are unique, strings of large arrays are walked once. After that no accessor can run out of bounds. A
// bad file throws llmhost::Error with one line that names the file and the field.
//
// Every string_view, span, GgufValue, GgufArray and GgufTensor lives as long as the GgufFile (moving it is
// fine). All const functions are thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/dtype.h"

namespace llmhost::model {

// Numbered as in the file.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

std::string_view gguf_type_name(GgufType type);  // "u32", "string", "array"; "unknown" for foreign numbers
// Bytes of one scalar; 0 for strings, arrays and unknown types.
size_t gguf_type_size(GgufType type);

// LLMH_DTYPE_INVALID for a tensor type that this project does not decode.
llmh_dtype gguf_dtype(uint32_t ggml_type);

class GgufStrings;
class GgufArrays;

// A checked, undecoded array in the mapping. Element accessors convert between number types when the value
// fits.
class GgufArray {
 public:
  GgufArray() = default;
  GgufType element_type() const { return element_type_; }
  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  // The elements as stored (little-endian, unaligned).
  std::span<const std::byte> raw() const { return {data_, bytes_}; }

  // O(1). They throw when the elements are of another kind, `index` is outside, or the value does not fit.
  uint64_t u64_at(size_t index) const;
  int64_t i64_at(size_t index) const;
  double f64_at(size_t index) const;
  bool bool_at(size_t index) const;

  // Ranges for `for (std::string_view text : array.strings())`; they throw when the elements are of another
  // kind.
  GgufStrings strings() const;
  GgufArrays arrays() const;

  std::vector<std::string_view> to_strings() const;
  std::vector<int64_t> to_i64() const;
  std::vector<float> to_f32() const;

 private:
  friend class GgufValue;
  friend class GgufArrays;
  friend class GgufParser;
  void check_index(size_t index) const;

  std::string_view file_;
  std::string_view key_;
  GgufType element_type_ = GgufType::kU8;
  size_t count_ = 0;
  const std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Forward range over the strings of an array; each step reads one length.
class GgufStrings {
 public:
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::string_view*;
    using reference = std::string_view;

    Iterator() = default;
    Iterator(const std::byte* position, size_t left) : position_(position), left_(left) {}
    std::string_view operator*() const;
    Iterator& operator++();
    Iterator operator++(int) {
      Iterator old = *this;
      ++*this;
      return old;
    }
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    const std::byte* position_ = nullptr;
    size_t left_ = 0;
  };

  GgufStrings(const std::byte* data, size_t count) : data_(data), count_(count) {}
  Iterator begin() const { return {data_, count_}; }
  Iterator end() const { return {nullptr, 0}; }
  size_t size() const { return count_; }

 private:
  const std::byte* data_;
  size_t count_;
};

// Forward range over the arrays of an array.
class GgufArrays {
 public:
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = GgufArray;
    using difference_type = std::ptrdiff_t;
    using pointer = const GgufArray*;
    using reference = GgufArray;

    Iterator() = default;
    Iterator(const GgufArray& parent, const std::byte* position, size_t left)
        : parent_(parent), position_(position), left_(left) {}
    GgufArray operator*() const;
    Iterator& operator++();
    Iterator operator++(int) {
      Iterator old = *this;
      ++*this;
      return old;
    }
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    GgufArray parent_;
    const std::byte* position_ = nullptr;
    size_t left_ = 0;
  };

  explicit GgufArrays(const GgufArray& parent) : parent_(parent) {}
  Iterator begin() const { return {parent_, parent_.data_, parent_.count_}; }
  Iterator end() const { return {parent_, nullptr, 0}; }
  size_t size() const { return parent_.count_; }

 private:
  GgufArray parent_;
};

// One metadata entry. The as_* functions throw a type error that names the file and the key.
class GgufValue {
 public:
  std::string_view key() const { return array_.key_; }
  GgufType type() const { return type_; }
  bool is_integer() const;
  bool is_float() const { return type_ == GgufType::kF32 || type_ == GgufType::kF64; }

  std::string_view as_string() const;
  uint64_t as_u64() const;  // any integer type that holds a value >= 0
  int64_t as_i64() const;   // any integer type whose value fits
  double as_f64() const;    // f32, f64 or an integer
  float as_f32() const { return static_cast<float>(as_f64()); }
  bool as_bool() const;
  const GgufArray& as_array() const;
  // The bytes as stored, of any type: those of one element unless it is an array.
  const GgufArray& raw() const { return array_; }

 private:
  friend class GgufParser;
  [[noreturn]] void type_error(std::string_view wanted) const;

  GgufType type_ = GgufType::kU8;
  GgufArray array_;  // a scalar or string is an array of one element
};

struct GgufTensor {
  std::string_view name;
  std::string_view file;
  uint32_t ggml_type = 0;
  llmh_dtype dtype = LLMH_DTYPE_INVALID;  // INVALID: listed, but data() refuses it
  uint32_t dim_count = 0;
  std::array<uint64_t, 4> dim_values{};  // as stored: the innermost (contiguous) dimension first
  const std::byte* begin = nullptr;
  uint64_t size_bytes = 0;  // 0 when dtype is INVALID

  std::span<const uint64_t> dims() const { return {dim_values.data(), dim_count}; }
  std::vector<int64_t> shape() const;  // row-major: the innermost dimension last
  uint64_t element_count() const;      // checked at opening: fits into int64_t
  // Throws kUnimplemented with the type's number when dtype is INVALID.
  std::span<const std::byte> data() const;
};

class GgufFile {
 public:
  // `path` is a file or any part of a split set (`name-00002-of-00005.gguf`), whose other parts are opened
  // too.
  static GgufFile open(const std::filesystem::path& path);
  // Reads one unsplit file from memory that outlives the result; `name` stands for the path in errors.
  static GgufFile from_bytes(std::span<const std::byte> bytes, std::string_view name);

  ~GgufFile();
  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  // The first part's path as given or found; all parts in order.
  const std::string& name() const;
  std::vector<std::filesystem::path> part_paths() const;
  uint32_t version() const;
  uint64_t alignment() const;
  uint64_t file_bytes() const;  // of all parts

  // Metadata of the first part, in file order.
  std::span<const GgufValue> metadata() const;
  // Null when absent.
  const GgufValue* find(std::string_view key) const;
  // Throws kNotFound when absent.
  const GgufValue& at(std::string_view key) const;

  // Throw when the key is absent or of another type.
  std::string_view get_string(std::string_view key) const { return at(key).as_string(); }
  uint64_t get_u64(std::string_view key) const { return at(key).as_u64(); }
  int64_t get_i64(std::string_view key) const { return at(key).as_i64(); }
  float get_f32(std::string_view key) const { return at(key).as_f32(); }
  double get_f64(std::string_view key) const { return at(key).as_f64(); }
  bool get_bool(std::string_view key) const { return at(key).as_bool(); }
  const GgufArray& get_array(std::string_view key) const { return at(key).as_array(); }

  // nullopt when the key is absent; throw when it is of another type.
  std::optional<std::string_view> try_string(std::string_view key) const;
  std::optional<uint64_t> try_u64(std::string_view key) const;
  std::optional<int64_t> try_i64(std::string_view key) const;
  std::optional<float> try_f32(std::string_view key) const;
  std::optional<bool> try_bool(std::string_view key) const;
  std::optional<GgufArray> try_array(std::string_view key) const;

  // Tensors of all parts, in file order.
  std::span<const GgufTensor> tensors() const;
  const GgufTensor* find_tensor(std::string_view name) const;

 private:
  struct State;
  explicit GgufFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace llmhost::model
