// The block types of GGUF files: the bytes of the gguf package for the simple ones, errors beside llama.cpp's
// for the k types (tests/data/quantised/make_gguf_types.py).
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/quantize.h"
#include "model/safetensors.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

constexpr const char* kSets[] = {"normal", "wide", "positive", "special"};

struct NamedType {
  const char* name;
  llmh_dtype dtype;
};

SafetensorsFile oracle() {
  return SafetensorsFile::open(test::data("quantised/gguf_types.safetensors"));
}

std::vector<float> floats(const SafetensorsTensor& tensor) {
  std::vector<float> values(tensor.data().size() / sizeof(float));
  std::memcpy(values.data(), tensor.data().data(), tensor.data().size());
  return values;
}

std::vector<std::byte> quantised(llmh_dtype dtype, const std::vector<float>& values) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  std::vector<std::byte> bytes(values.size() / layout.block_elements * layout.block_bytes, std::byte{0xAA});
  CHECK(quantize_row(dtype, values.data(), bytes.data(), values.size()));
  return bytes;
}

// The root mean square error over that of the values.
double relative_error(llmh_dtype dtype, const std::vector<float>& values) {
  const std::vector<std::byte> bytes = quantised(dtype, values);
  std::vector<float> decoded(values.size());
  dequantize_row(dtype, bytes.data(), decoded.data(), decoded.size());
  double error = 0, square = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double miss = static_cast<double>(decoded[i]) - static_cast<double>(values[i]);
    error += miss * miss;
    square += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return std::sqrt(error / square);
}

}  // namespace

TEST_CASE("simple types: the bytes of the gguf package") {
  const SafetensorsFile file = oracle();
  constexpr NamedType kTypes[] = {{"F16", LLMH_DTYPE_F16},   {"BF16", LLMH_DTYPE_BF16},
                                  {"Q4_0", LLMH_DTYPE_Q4_0}, {"Q4_1", LLMH_DTYPE_Q4_1},
                                  {"Q5_0", LLMH_DTYPE_Q5_0}, {"Q5_1", LLMH_DTYPE_Q5_1},
                                  {"Q8_0", LLMH_DTYPE_Q8_0}};
  for (const char* set : kSets)
    for (const NamedType& type : kTypes) {
      CAPTURE(set);
      CAPTURE(type.name);
      const std::vector<std::byte> bytes = quantised(type.dtype, floats(*file.find(set)));
      const auto wanted = file.find(std::string(set) + "/" + type.name)->data();
      CHECK(std::equal(bytes.begin(), bytes.end(), wanted.begin(), wanted.end()));
    }
}

TEST_CASE("k types: no larger errors than llama.cpp's") {
  const SafetensorsFile file = oracle();
  constexpr NamedType kTypes[] = {{"Q2_K", LLMH_DTYPE_Q2_K},
                                  {"Q3_K", LLMH_DTYPE_Q3_K},
                                  {"Q4_K", LLMH_DTYPE_Q4_K},
                                  {"Q5_K", LLMH_DTYPE_Q5_K},
                                  {"Q6_K", LLMH_DTYPE_Q6_K}};
  for (const char* set : kSets)
    for (const NamedType& type : kTypes) {
      CAPTURE(set);
      CAPTURE(type.name);
      const float theirs = floats(*file.find(std::string(set) + "/" + type.name + ".rms"))[0];
      // 2 %: both search, and each finds the better scales now and then.
      CHECK(relative_error(type.dtype, floats(*file.find(set))) <= 1.02 * static_cast<double>(theirs));
    }
}

TEST_CASE("k types: values that have an exact form keep it") {
  std::vector<float> zeros(256, 0.0F);
  for (const llmh_dtype dtype :
       {LLMH_DTYPE_Q2_K, LLMH_DTYPE_Q3_K, LLMH_DTYPE_Q4_K, LLMH_DTYPE_Q5_K, LLMH_DTYPE_Q6_K}) {
    const std::vector<std::byte> bytes = quantised(dtype, zeros);
    std::vector<float> decoded(256, 1.0F);
    dequantize_row(dtype, bytes.data(), decoded.data(), decoded.size());
    for (const float value : decoded) CHECK(value == 0.0F);
  }
}

TEST_CASE("what a type cannot hold is told") {
  std::vector<std::byte> out(1024);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(256, 0.5F);
    values[100] = bad;
    for (int dtype = LLMH_DTYPE_F32; dtype < LLMH_DTYPE_COUNT_; ++dtype)
      if (can_quantize(dtype)) CHECK_FALSE(quantize_row(dtype, values.data(), out.data(), values.size()));
  }
  const std::vector<float> large(256, 1e30F);
  CHECK_FALSE(quantize_row(LLMH_DTYPE_F16, large.data(), out.data(), 256));
  CHECK_FALSE(quantize_row(LLMH_DTYPE_Q8_0, large.data(), out.data(), 256));
  CHECK_FALSE(quantize_row(LLMH_DTYPE_Q6_K, large.data(), out.data(), 256));
  std::vector<float> opposite(256, 3e38F);
  for (size_t i = 0; i < opposite.size(); i += 2) opposite[i] = -3e38F;
  CHECK_FALSE(quantize_row(LLMH_DTYPE_Q5_1, opposite.data(), out.data(), 256));
  CHECK_FALSE(quantize_row(LLMH_DTYPE_Q4_K, opposite.data(), out.data(), 256));
  CHECK(quantize_row(LLMH_DTYPE_BF16, large.data(), out.data(), 256));
  CHECK_THROWS_AS(static_cast<void>(quantize_row(LLMH_DTYPE_Q8_0, large.data(), out.data(), 33)), Error);
  CHECK_THROWS_AS(static_cast<void>(quantize_row(LLMH_DTYPE_IQ2_S, large.data(), out.data(), 256)), Error);
  CHECK_THROWS_AS(static_cast<void>(quantize_row(-1, large.data(), out.data(), 256)), Error);
}

}  // namespace llmhost::model
