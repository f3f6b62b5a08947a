#include "model/quantised_parts.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/dequantize.h"
#include "core/error.h"
#include "model/checkpoint_text.h"

namespace llmhost::model {

PartTable::PartTable(std::vector<CheckpointTensor> tensors)
    : tensors_(std::move(tensors)), taken_(tensors_.size(), false) {
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const CheckpointTensor* PartTable::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const CheckpointTensor* PartTable::part(std::string_view module, std::string_view suffix) const {
  return find(fmt::format("{}{}", module, suffix));
}

const CheckpointTensor& PartTable::require(std::string_view module, std::string_view suffix) const {
  const CheckpointTensor* found = part(module, suffix);
  if (found == nullptr)
    throw_invalid("{}: quantised module '{}' has no tensor '{}'", tensors_.front().file, printable(module),
                  suffix);
  return *found;
}

std::vector<std::string> PartTable::modules_with(std::string_view suffix) const {
  std::vector<std::string> modules;
  for (const CheckpointTensor& tensor : tensors_)
    if (tensor.name.size() > suffix.size() && tensor.name.ends_with(suffix))
      modules.emplace_back(tensor.name.substr(0, tensor.name.size() - suffix.size()));
  return modules;
}

size_t PartTable::index_of(const CheckpointTensor& tensor) const {
  return static_cast<size_t>(&tensor - tensors_.data());
}

void PartTable::replace(std::string name, QuantisedWeight weight, const Parts& parts) {
  CheckpointTensor tensor;
  for (const CheckpointTensor* part : parts) {
    if (part == nullptr) continue;
    if (tensor.file.empty()) tensor.file = part->file;
    tensor.part_bytes += part->bytes.size();
    taken_[index_of(*part)] = true;
  }
  tensor.name = names_.emplace_back(std::move(name));
  tensor.stored_type = std::move(weight.stored_type);
  tensor.dtype = weight.dtype;
  tensor.shape = std::move(weight.shape);
  tensor.decoder = std::move(weight.decoder);
  weights_.push_back(std::move(tensor));
}

void PartTable::drop(const CheckpointTensor& tensor) {
  taken_[index_of(tensor)] = true;
}

PartTable::Result PartTable::finish() && {
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (!taken_[i]) weights_.push_back(std::move(tensors_[i]));
  return {std::move(weights_), std::move(names_)};
}

void refuse_part(const CheckpointTensor& part, const std::string& why) {
  throw_invalid("{}: tensor '{}' of type {} and shape [{}]: {}", part.file, printable(part.name),
                printable(part.stored_type), fmt::join(part.shape, ","), why);
}

void expect_type(const CheckpointTensor& part, std::initializer_list<std::string_view> types) {
  if (std::find(types.begin(), types.end(), part.stored_type) == types.end())
    refuse_part(part, fmt::format("its type must be {}", fmt::join(types, " or ")));
}

void expect_rank(const CheckpointTensor& part, size_t rank) {
  if (part.shape.size() != rank) refuse_part(part, fmt::format("it must have {} dimensions", rank));
  if (std::find(part.shape.begin(), part.shape.end(), 0) != part.shape.end())
    refuse_part(part, "it is empty");
}

void expect_shape(const CheckpointTensor& part, const std::vector<int64_t>& shape) {
  if (part.shape != shape) refuse_part(part, fmt::format("its shape must be [{}]", fmt::join(shape, ",")));
}

void expect_bytes(const CheckpointTensor& part, int64_t element_bytes) {
  int64_t bytes = element_bytes;
  for (const int64_t dim : part.shape) bytes = checked_product(part, bytes, dim);
  if (static_cast<uint64_t>(bytes) != part.bytes.size())
    refuse_part(part, fmt::format("it has {} bytes instead of {}", part.bytes.size(), bytes));
}

int64_t checked_product(const CheckpointTensor& part, int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) refuse_part(part, "its dimensions are too large");
  return product;
}

uint32_t word_at(const CheckpointTensor& part, int64_t index) {
  uint32_t word = 0;
  std::memcpy(&word, part.bytes.data() + static_cast<size_t>(index) * sizeof word, sizeof word);
  return word;
}

float e4m3_to_f32(uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

float e5m2_to_f32(uint8_t bits) {
  return f16_to_f32(static_cast<uint16_t>(bits << 8));  // the upper half of an f16
}

float e8m0_to_f32(uint8_t bits) {
  if (bits == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::ldexp(1.0F, bits - 127);
}

namespace {

using ByteDecoder = float (*)(uint8_t);

ByteDecoder byte_decoder(std::string_view type) {
  if (type == "F8_E4M3") return e4m3_to_f32;
  if (type == "F8_E5M2") return e5m2_to_f32;
  if (type == "F8_E8M0") return e8m0_to_f32;
  return nullptr;
}

}  // namespace

void expect_floats(const CheckpointTensor& part) {
  expect_type(part, {"F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0"});
  if (byte_decoder(part.stored_type) != nullptr) expect_bytes(part, 1);
}

std::vector<float> floats_of(const CheckpointTensor& part) {
  expect_floats(part);
  std::vector<float> values(static_cast<size_t>(part.element_count()));
  if (const ByteDecoder decode = byte_decoder(part.stored_type))
    std::transform(part.bytes.begin(), part.bytes.end(), values.begin(),
                   [&](std::byte byte) { return decode(std::to_integer<uint8_t>(byte)); });
  else
    dequantize_row(part.dtype, part.bytes.data(), values.data(), values.size());
  return values;
}

}  // namespace llmhost::model
