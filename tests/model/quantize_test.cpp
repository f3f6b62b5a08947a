// Four bits as bitsandbytes makes them: packed bytes, maxima and restored values against what its portable
// kernels gave (tests/data/finetune/README.md), and the file that transformers wrote with them.
#include "model/quantize.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <limits>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

std::vector<float> floats(const SafetensorsTensor& tensor) {
  std::vector<float> values(tensor.data().size() / sizeof(float));
  std::memcpy(values.data(), tensor.data().data(), tensor.data().size());
  return values;
}

size_t different_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  REQUIRE(a.size() == b.size());
  size_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1 : 0;
  return count;
}

float largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

void check_unit(const SafetensorsFile& file, const std::string& name, const Json& about, FourBitCode code,
                ThreadPool* threads) {
  CAPTURE(name);
  const auto at = [&](const char* part) -> const SafetensorsTensor& {
    const SafetensorsTensor* found = file.find(name + "/" + part);
    REQUIRE(found != nullptr);
    return *found;
  };
  FourBitOptions options;
  options.code = code;
  options.block = about.at("blocksize").get<int64_t>();
  options.is_nested = about.at("double").get<bool>();
  const SafetensorsTensor& source = at("source");
  const FourBitTensor made = quantize_four_bit(floats(source), source.shape, options, threads);
  CHECK(different_bytes(made.packed, at("packed").data()) == 0);
  // The goldens' tolerance for restored maxima; packed bytes have none.
  CHECK(largest_difference(made.absmax, floats(at("absmax"))) < 1e-6F);
  if (options.is_nested) {
    CHECK(different_bytes(made.absmax_codes, at("absmax_u8").data()) == 0);
    CHECK(largest_difference(made.nested_absmax, floats(at("nested_absmax"))) < 1e-6F);
    CHECK(made.nested_offset == doctest::Approx(about.at("nested_offset").get<float>()).epsilon(1e-7));
  }
  std::vector<float> restored(floats(source).size());
  dequantize_four_bit(made, restored);
  CHECK(largest_difference(restored, floats(at("dequant"))) < 1e-6F);
  const WeightData weight = four_bit_weight(made);
  std::vector<float> on_device(restored.size());
  dequantize_row(weight.dtype, weight.bytes.data(), on_device.data(), on_device.size());
  CHECK(on_device == restored);
  CHECK((weight.dtype == LLMH_DTYPE_F32) == (source.shape[1] % 64 != 0));
}

void check_units(const char* stem, FourBitCode code) {
  const auto folder = test::data("finetune/qlora");
  const SafetensorsFile file = SafetensorsFile::open(folder / (std::string(stem) + ".safetensors"));
  const std::string text = read_file(folder / (std::string(stem) + ".json"));
  const Json units = parse_json(text, stem);
  ThreadPool threads(2);
  for (const auto& [name, about] : units.items()) {
    check_unit(file, name, about, code, nullptr);
    check_unit(file, name, about, code, &threads);
  }
}

}  // namespace

TEST_CASE("nf4: bytes, maxima and values of the goldens") {
  check_units("nf4_units", FourBitCode::kNf4);
}

TEST_CASE("fp4: bytes, maxima and values of the library") {
  check_units("fp4_units", FourBitCode::kFp4);
}

TEST_CASE("the tables are the library's, bit for bit") {
  const auto path = test::data("finetune/qlora/nf4_units.safetensors");
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto same = [&](const char* name, std::span<const float> values) {
    return different_bytes(std::as_bytes(values), file.find(name)->data()) == 0;
  };
  CHECK(same("nf4_code", four_bit_values(FourBitCode::kNf4)));
  CHECK(same("nested_code", nested_values()));
}

TEST_CASE("a checkpoint in nf4 has the parts that transformers wrote") {
  const SafetensorsFile source = SafetensorsFile::open(test::data("finetune/models/llama/model.safetensors"));
  const SafetensorsFile written =
      SafetensorsFile::open(test::data("finetune/qlora/llama_nf4_lora/nf4_model/model.safetensors"));
  size_t count = 0;
  for (const SafetensorsTensor& tensor : source.tensors()) {
    const SafetensorsTensor* state =
        written.find(std::string(tensor.name) + ".quant_state.bitsandbytes__nf4");
    if (state == nullptr) continue;
    CAPTURE(tensor.name);
    ++count;
    const FourBitTensor made = quantize_four_bit(floats(tensor), tensor.shape, {});
    const auto part = [&](const char* ending) {
      return written.find(std::string(tensor.name) + ending)->data();
    };
    CHECK(different_bytes(made.packed, part("")) == 0);
    CHECK(different_bytes(made.absmax_codes, part(".absmax")) == 0);
    CHECK(different_bytes(std::as_bytes(std::span(made.nested_absmax)), part(".nested_absmax")) == 0);
    const std::string text = four_bit_state(made, "float32");
    const std::string_view wanted(reinterpret_cast<const char*>(state->data().data()), state->data().size());
    // The mean of the maxima may differ in its last bit with the order of the sum: compared as numbers.
    const Json ours = parse_json(text, "made");
    Json theirs = parse_json(wanted, "written");
    CHECK(ours.at("nested_offset").get<float>() ==
          doctest::Approx(theirs.at("nested_offset").get<float>()).epsilon(1e-7));
    theirs["nested_offset"] = ours.at("nested_offset");
    CHECK(ours == theirs);
  }
  CHECK(count == 14);
}

TEST_CASE("what cannot be quantised is refused") {
  std::vector<float> values(64, 0.5F);
  const std::vector<int64_t> shape = {1, 64};
  FourBitOptions options;
  CHECK_THROWS_AS(quantize_four_bit(values, std::vector<int64_t>{1, 32}, options), Error);
  CHECK_THROWS_AS(quantize_four_bit({}, std::vector<int64_t>{0, 64}, options), Error);
  for (const int64_t block : {0, 16, 48, 8192, -64}) {
    options.block = block;
    CHECK_THROWS_AS(quantize_four_bit(values, shape, options), Error);
  }
  options.block = 64;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    values[63] = bad;
    CHECK_THROWS_AS(quantize_four_bit(values, shape, options), Error);
  }
}

}  // namespace llmhost::model
