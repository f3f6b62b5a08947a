// The parts of quantised weights: the tensors of a checkpoint while formats put weights together, and what
// the formats have in common in reading a part. Internal to quantised*.cpp.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/checkpoint.h"
#include "model/quantised_config.h"

namespace llmhost::model {

// A weight as a format hands it over.
struct QuantisedWeight {
  std::string stored_type;
  llmh_dtype dtype = LLMH_DTYPE_F32;
  std::vector<int64_t> shape;
  std::shared_ptr<const TensorDecoder> decoder;
};

using Parts = std::vector<const CheckpointTensor*>;

class PartTable {
 public:
  explicit PartTable(std::vector<CheckpointTensor> tensors);

  // Null when absent. Pointers are good until finish().
  const CheckpointTensor* find(std::string_view name) const;
  const CheckpointTensor* part(std::string_view module, std::string_view suffix) const;
  // Throws when absent.
  const CheckpointTensor& require(std::string_view module, std::string_view suffix) const;
  // Every M for which "M<suffix>" is stored, in the order of the file.
  std::vector<std::string> modules_with(std::string_view suffix) const;

  // One weight for the parts (nulls are left out).
  void replace(std::string name, QuantisedWeight weight, const Parts& parts);
  // A stored tensor that says nothing about weights.
  void drop(const CheckpointTensor& tensor);

  struct Result {
    std::vector<CheckpointTensor> tensors;
    std::deque<std::string> names;
  };
  Result finish() &&;

 private:
  size_t index_of(const CheckpointTensor& tensor) const;

  std::vector<CheckpointTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
  std::vector<CheckpointTensor> weights_;
  std::vector<bool> taken_;
  std::deque<std::string> names_;
};

[[noreturn]] void refuse_part(const CheckpointTensor& part, const std::string& why);

// These throw, with the part's name, what it is and what is wanted.
void expect_type(const CheckpointTensor& part, std::initializer_list<std::string_view> types);
void expect_rank(const CheckpointTensor& part, size_t rank);
void expect_shape(const CheckpointTensor& part, const std::vector<int64_t>& shape);
// Types that the engine has no use for are not checked when the file is opened: bytes = elements * size.
void expect_bytes(const CheckpointTensor& part, int64_t element_bytes);

// rows * columns, refusing what does not fit 63 bits.
int64_t checked_product(const CheckpointTensor& part, int64_t a, int64_t b);

// Little-endian words at any alignment.
uint32_t word_at(const CheckpointTensor& part, int64_t index);

// Every element of a small part (scales) as f32: F32, F16, BF16, F8_E4M3, F8_E5M2 and F8_E8M0.
std::vector<float> floats_of(const CheckpointTensor& part);
void expect_floats(const CheckpointTensor& part);

// Eight-bit floats: 1-4-3 without infinities, 1-5-2, and a bare exponent.
float e4m3_to_f32(uint8_t bits);
float e5m2_to_f32(uint8_t bits);
float e8m0_to_f32(uint8_t bits);

// A decoder around a function.
template <typename F>
std::shared_ptr<const TensorDecoder> make_decoder(F decode) {
  class Decoder final : public TensorDecoder {
   public:
    explicit Decoder(F function) : function_(std::move(function)) {}
    void decode(std::span<std::byte> out) const override { function_(out); }

   private:
    F function_;
  };
  return std::make_shared<const Decoder>(std::move(decode));
}

// The formats: each replaces the parts that it knows.
void read_gptq(PartTable& parts, QuantisationConfig& config);
void read_awq(PartTable& parts, QuantisationConfig& config);
void read_bitsandbytes(PartTable& parts, QuantisationConfig& config);
void read_fp8(PartTable& parts, QuantisationConfig& config);
void read_compressed_tensors(PartTable& parts, QuantisationConfig& config);
void read_mxfp4(PartTable& parts, QuantisationConfig& config);

}  // namespace llmhost::model
