// Metadata values and tensor entries of a checked GGUF file.
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "model/checkpoint_text.h"
#include "model/gguf.h"

namespace llmhost::model {
namespace {

template <typename T>
T load(const std::byte* position) {
  T value;
  std::memcpy(&value, position, sizeof value);
  return value;
}

// Calls `use` with the scalar at `position` in its own type; false when `type` is no number.
template <typename Use>
bool visit_number(GgufType type, const std::byte* position, const Use& use) {
  switch (type) {
    case GgufType::kU8:
      use(load<uint8_t>(position));
      return true;
    case GgufType::kI8:
      use(load<int8_t>(position));
      return true;
    case GgufType::kU16:
      use(load<uint16_t>(position));
      return true;
    case GgufType::kI16:
      use(load<int16_t>(position));
      return true;
    case GgufType::kU32:
      use(load<uint32_t>(position));
      return true;
    case GgufType::kI32:
      use(load<int32_t>(position));
      return true;
    case GgufType::kU64:
      use(load<uint64_t>(position));
      return true;
    case GgufType::kI64:
      use(load<int64_t>(position));
      return true;
    case GgufType::kF32:
      use(load<float>(position));
      return true;
    case GgufType::kF64:
      use(load<double>(position));
      return true;
    default:
      return false;
  }
}

// nullopt when the element is no integer or does not fit.
template <typename To>
std::optional<To> load_integer(GgufType type, const std::byte* position) {
  std::optional<To> result;
  visit_number(type, position, [&](auto value) {
    if constexpr (std::is_integral_v<decltype(value)>) {
      if (std::in_range<To>(value)) result = static_cast<To>(value);
    }
  });
  return result;
}

std::optional<double> load_double(GgufType type, const std::byte* position) {
  std::optional<double> result;
  visit_number(type, position, [&](auto value) { result = static_cast<double>(value); });
  return result;
}

std::string_view load_string(const std::byte* position) {
  const auto size = static_cast<size_t>(load<uint64_t>(position));
  return {reinterpret_cast<const char*>(position + sizeof(uint64_t)), size};
}

// The end of checked elements. The parser bounded the depth of the recursion.
const std::byte* skip(const std::byte* position, GgufType type, size_t count) {
  if (type == GgufType::kString) {
    for (size_t i = 0; i < count; ++i) position += sizeof(uint64_t) + load_string(position).size();
    return position;
  }
  if (type != GgufType::kArray) return position + count * gguf_type_size(type);
  for (size_t i = 0; i < count; ++i) {
    const auto element_type = static_cast<GgufType>(load<uint32_t>(position));
    const auto length = static_cast<size_t>(load<uint64_t>(position + 4));
    position = skip(position + 12, element_type, length);
  }
  return position;
}

bool is_integer_type(GgufType type) {
  return gguf_type_size(type) != 0 && type != GgufType::kBool && type != GgufType::kF32 &&
         type != GgufType::kF64;
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  constexpr std::array<std::string_view, 13> kNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                       "bool", "string", "array", "u64", "i64", "f64"};
  const auto index = static_cast<size_t>(type);
  return index < kNames.size() ? kNames[index] : "unknown";
}

size_t gguf_type_size(GgufType type) {
  constexpr std::array<uint8_t, 13> kSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  const auto index = static_cast<size_t>(type);
  return index < kSizes.size() ? kSizes[index] : 0;
}

llmh_dtype gguf_dtype(uint32_t ggml_type) {
  switch (ggml_type) {
    case 0:
      return LLMH_DTYPE_F32;
    case 1:
      return LLMH_DTYPE_F16;
    case 2:
      return LLMH_DTYPE_Q4_0;
    case 3:
      return LLMH_DTYPE_Q4_1;
    case 6:
      return LLMH_DTYPE_Q5_0;
    case 7:
      return LLMH_DTYPE_Q5_1;
    case 8:
      return LLMH_DTYPE_Q8_0;
    case 10:
      return LLMH_DTYPE_Q2_K;
    case 11:
      return LLMH_DTYPE_Q3_K;
    case 12:
      return LLMH_DTYPE_Q4_K;
    case 13:
      return LLMH_DTYPE_Q5_K;
    case 14:
      return LLMH_DTYPE_Q6_K;
    case 20:
      return LLMH_DTYPE_IQ4_NL;
    case 23:
      return LLMH_DTYPE_IQ4_XS;
    case 24:
      return LLMH_DTYPE_I8;
    case 25:
      return LLMH_DTYPE_I16;
    case 26:
      return LLMH_DTYPE_I32;
    case 27:
      return LLMH_DTYPE_I64;
    case 28:
      return LLMH_DTYPE_F64;
    case 30:
      return LLMH_DTYPE_BF16;
    case 16:
      return LLMH_DTYPE_IQ2_XXS;
    case 17:
      return LLMH_DTYPE_IQ2_XS;
    case 18:
      return LLMH_DTYPE_IQ3_XXS;
    case 19:
      return LLMH_DTYPE_IQ1_S;
    case 21:
      return LLMH_DTYPE_IQ3_S;
    case 22:
      return LLMH_DTYPE_IQ2_S;
    case 29:
      return LLMH_DTYPE_IQ1_M;
    case 34:
      return LLMH_DTYPE_TQ1_0;
    case 35:
      return LLMH_DTYPE_TQ2_0;
    case 39:
      return LLMH_DTYPE_MXFP4;
    case 40:
      return LLMH_DTYPE_NVFP4;
    default:
      return LLMH_DTYPE_INVALID;
  }
}

void GgufArray::check_index(size_t index) const {
  if (index >= count_)
    throw_invalid("{}: metadata '{}' has {} elements, element {} is needed", file_, printable(key_), count_,
                  index);
}

[[noreturn]] static void element_error(std::string_view file, std::string_view key, GgufType type,
                                       size_t index, std::string_view wanted) {
  throw_invalid("{}: element {} of metadata '{}' (an array of {}) cannot be read as {}", file, index,
                printable(key), gguf_type_name(type), wanted);
}

uint64_t GgufArray::u64_at(size_t index) const {
  check_index(index);
  const auto value = load_integer<uint64_t>(element_type_, data_ + index * gguf_type_size(element_type_));
  if (!value) element_error(file_, key_, element_type_, index, "an unsigned integer");
  return *value;
}

int64_t GgufArray::i64_at(size_t index) const {
  check_index(index);
  const auto value = load_integer<int64_t>(element_type_, data_ + index * gguf_type_size(element_type_));
  if (!value) element_error(file_, key_, element_type_, index, "an integer");
  return *value;
}

double GgufArray::f64_at(size_t index) const {
  check_index(index);
  const auto value = load_double(element_type_, data_ + index * gguf_type_size(element_type_));
  if (!value) element_error(file_, key_, element_type_, index, "a number");
  return *value;
}

bool GgufArray::bool_at(size_t index) const {
  check_index(index);
  if (element_type_ != GgufType::kBool) element_error(file_, key_, element_type_, index, "a bool");
  return data_[index] != std::byte{0};
}

GgufStrings GgufArray::strings() const {
  if (element_type_ != GgufType::kString && count_ != 0)
    element_error(file_, key_, element_type_, 0, "a string");
  return {data_, count_};
}

GgufArrays GgufArray::arrays() const {
  if (element_type_ != GgufType::kArray && count_ != 0)
    element_error(file_, key_, element_type_, 0, "an array");
  return GgufArrays(*this);
}

std::vector<std::string_view> GgufArray::to_strings() const {
  const GgufStrings range = strings();
  return {range.begin(), range.end()};
}

std::vector<int64_t> GgufArray::to_i64() const {
  std::vector<int64_t> result(count_);
  for (size_t i = 0; i < count_; ++i) result[i] = i64_at(i);
  return result;
}

std::vector<float> GgufArray::to_f32() const {
  std::vector<float> result(count_);
  for (size_t i = 0; i < count_; ++i) result[i] = static_cast<float>(f64_at(i));
  return result;
}

std::string_view GgufStrings::Iterator::operator*() const {
  return load_string(position_);
}

GgufStrings::Iterator& GgufStrings::Iterator::operator++() {
  position_ += sizeof(uint64_t) + load_string(position_).size();
  --left_;
  return *this;
}

GgufArray GgufArrays::Iterator::operator*() const {
  GgufArray element = parent_;
  element.element_type_ = static_cast<GgufType>(load<uint32_t>(position_));
  element.count_ = static_cast<size_t>(load<uint64_t>(position_ + 4));
  element.data_ = position_ + 12;
  element.bytes_ =
      static_cast<size_t>(skip(element.data_, element.element_type_, element.count_) - element.data_);
  return element;
}

GgufArrays::Iterator& GgufArrays::Iterator::operator++() {
  position_ = skip(position_, GgufType::kArray, 1);
  --left_;
  return *this;
}

void GgufValue::type_error(std::string_view wanted) const {
  throw_invalid("{}: metadata '{}' has type {}, {} is needed", array_.file_, printable(key()),
                gguf_type_name(type_), wanted);
}

bool GgufValue::is_integer() const {
  return is_integer_type(type_);
}

std::string_view GgufValue::as_string() const {
  if (type_ != GgufType::kString) type_error("a string");
  return load_string(array_.data_);
}

uint64_t GgufValue::as_u64() const {
  if (!is_integer()) type_error("an integer");
  const auto value = load_integer<uint64_t>(type_, array_.data_);
  if (!value) throw_invalid("{}: metadata '{}' is negative", array_.file_, printable(key()));
  return *value;
}

int64_t GgufValue::as_i64() const {
  if (!is_integer()) type_error("an integer");
  const auto value = load_integer<int64_t>(type_, array_.data_);
  if (!value) throw_invalid("{}: metadata '{}' is over 2^63 - 1", array_.file_, printable(key()));
  return *value;
}

double GgufValue::as_f64() const {
  const auto value = load_double(type_, array_.data_);
  if (!value) type_error("a number");
  return *value;
}

bool GgufValue::as_bool() const {
  if (type_ != GgufType::kBool) type_error("a bool");
  return *array_.data_ != std::byte{0};
}

const GgufArray& GgufValue::as_array() const {
  if (type_ != GgufType::kArray) type_error("an array");
  return array_;
}

}  // namespace llmhost::model
