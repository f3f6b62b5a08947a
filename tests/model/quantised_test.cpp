// Quantised Hub checkpoints: decoded weights against the values that the generator of the data packed, and
// what is refused.
#include "model/quantised.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <filesystem>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/json.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

std::vector<float> decoded(const CheckpointTensor& tensor) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(tensor.dtype);
  const auto count = static_cast<size_t>(tensor.element_count());
  std::vector<std::byte> bytes(count / layout.block_elements * layout.block_bytes);
  if (tensor.decoder != nullptr)
    tensor.decoder->decode(bytes);
  else
    bytes.assign(tensor.data().begin(), tensor.data().end());
  std::vector<float> values(count);
  dequantize_row(tensor.dtype, bytes.data(), values.data(), count);
  return values;
}

void check_weight(const Checkpoint& checkpoint, const SafetensorsTensor& expected, const std::string& type) {
  CAPTURE(expected.name);
  const CheckpointTensor* weight = checkpoint.find(expected.name);
  REQUIRE(weight != nullptr);
  CHECK(weight->shape == expected.shape);
  CHECK(std::string(llmh_dtype_layout_of(weight->dtype).name) == type);
  const std::vector<float> values = decoded(*weight);
  REQUIRE(values.size() * sizeof(float) == expected.data().size());
  size_t different = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, expected.data().data() + i * sizeof bits, sizeof bits);
    // No tolerance, but 0 and -0 are alike.
    const bool same = bits == std::bit_cast<uint32_t>(values[i]) || std::bit_cast<float>(bits) == values[i];
    different += same ? 0 : 1;
  }
  CHECK(different == 0);
}

// Stored tensors without files: zeros unless bytes are given.
class Stored {
 public:
  Stored& add(std::string_view name, std::string_view type, std::vector<int64_t> shape,
              std::string_view data = {}) {
    const llmh_dtype dtype = safetensors_dtype(type);
    const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
    size_t size = dtype == LLMH_DTYPE_INVALID ? 1 : layout.block_bytes;
    for (const int64_t dim : shape) size *= static_cast<size_t>(dim);
    std::vector<std::byte>& bytes = bytes_.emplace_back(size);
    if (!data.empty()) std::memcpy(bytes.data(), data.data(), std::min(size, data.size()));
    tensors_.push_back({.name = name,
                        .file = "model.safetensors",
                        .stored_type = std::string(type),
                        .dtype = dtype,
                        .shape = std::move(shape),
                        .bytes = bytes});
    return *this;
  }
  // "" when it is read without complaint.
  std::string error(const char* quantisation) const {
    try {
      static_cast<void>(read(quantisation));
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }
  QuantisedWeights read(const char* quantisation) const {
    const Json config = {{"quantization_config", Json::parse(quantisation)}};
    return read_quantised(tensors_, config, "config.json", test::data("quantised"));
  }

 private:
  std::deque<std::vector<std::byte>> bytes_;
  std::vector<CheckpointTensor> tensors_;
};

constexpr const char* kGptq = R"({"quant_method": "gptq", "bits": 4, "group_size": 32})";
constexpr const char* kFp8 = R"({"quant_method": "fp8", "weight_block_size": [4, 4]})";
constexpr const char* kBits = R"({"quant_method": "bitsandbytes"})";
constexpr const char* kPacked = R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
    "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}})";

}  // namespace

TEST_CASE("every quantised format decodes to the values that were packed") {
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(test::data("quantised"))) {
    if (!entry.is_directory() || !fs::exists(entry.path() / "config.json")) continue;
    CAPTURE(entry.path().filename().string());
    Checkpoint checkpoint = Checkpoint::open(entry.path() / "model.safetensors");
    const uint64_t stored_bytes = checkpoint.weight_bytes();
    checkpoint.join_quantised();
    CHECK(checkpoint.quantisation_key() == "quantization_config");
    CHECK(checkpoint.unread_quantisation_keys().empty());
    CHECK(checkpoint.weight_bytes() <= stored_bytes);
    const SafetensorsFile expected = SafetensorsFile::open(entry.path() / "expected.safetensors");
    for (const SafetensorsTensor& tensor : expected.tensors())
      check_weight(checkpoint, tensor, expected.metadata().at(tensor.name));
    // Biases stay, parts are gone.
    for (const CheckpointTensor& tensor : checkpoint.tensors())
      CHECK((tensor.name.ends_with("bias") || expected.find(tensor.name) != nullptr));
    ++cases;
  }
  CHECK(cases == 40);
}

TEST_CASE("what is not quantised stays as it is") {
  const Stored plain = std::move(Stored().add("a.weight", "F16", {4, 4}));
  const QuantisedWeights read = read_quantised({}, Json::object(), "config.json", test::data("quantised"));
  CHECK(read.config_key.empty());
  const QuantisedWeights same = plain.read(kGptq);
  REQUIRE(same.tensors.size() == 1);
  CHECK(same.tensors[0].name == "a.weight");
  CHECK(same.tensors[0].decoder == nullptr);
}

TEST_CASE("methods, formats and keys that are not known are refused or named") {
  const Stored none = std::move(Stored().add("a.weight", "F16", {4, 4}));
  CHECK(none.error(R"({"quant_method": "hqq"})") ==
        "config.json: quantization_config: 'quant_method' is \"hqq\": of the methods only gptq, awq, "
        "bitsandbytes, "
        "fp8, fbgemm_fp8, compressed-tensors, mxfp4 are supported");
  CHECK(none.error("[1]") == "config.json: quantization_config: is not an object");
  CHECK(none.error(R"({"bits": 4})") ==
        "config.json: quantization_config: 'quant_method' is missing: of the methods only gptq, awq, "
        "bitsandbytes, "
        "fp8, fbgemm_fp8, compressed-tensors, mxfp4 are supported");
  CHECK(none.error(R"({"quant_method": "gptq", "bits": 5})") ==
        "config.json: quantization_config: 'bits' is 5: only 2, 3, 4 and 8 are supported");
  CHECK(none.error(R"({"quant_method": "gptq", "checkpoint_format": "marlin"})") ==
        "config.json: quantization_config: 'checkpoint_format' is \"marlin\": only gptq, gptq_v2 are "
        "supported");
  CHECK(none.error(R"({"quant_method": "awq", "version": "marlin"})") ==
        "config.json: quantization_config: 'version' is \"marlin\": only gemm, gemv are supported");
  CHECK(none.error(R"({"quant_method": "fp8", "weight_block_size": [0, 1]})") ==
        "config.json: quantization_config: 'weight_block_size' is [0,1]: it must be two integers above 0");
  CHECK(none.error(R"({"quant_method": "compressed-tensors", "format": "marlin-24"})") ==
        "config.json: quantization_config: 'format' is \"marlin-24\": only pack-quantized, int-quantized, "
        "float-quantized, naive-quantized, nvfp4-pack-quantized, mxfp4-pack-quantized, mixed-precision, "
        "dense are "
        "supported");
  const QuantisedWeights read = none.read(
      R"({"quant_method": "gptq", "dynamic": {"-:lm_head": {"bits": 8}}, "rotation": "hadamard", "x": null,
                   "use_exllama": true, "exllama_config": {"version": 2}})");
  CHECK(read.unread_keys == std::vector<std::string>{"dynamic.-:lm_head.bits", "rotation"});
}

TEST_CASE("GPTQ parts that do not fit together are refused") {
  const auto with = [](std::vector<int64_t> zeros, std::vector<int64_t> scales, std::string_view index) {
    Stored stored;
    stored.add("a.qweight", "I32", {8, 16}).add("a.qzeros", "I32", std::move(zeros));
    stored.add("a.scales", "F16", std::move(scales)).add("a.g_idx", "I32", {64}, index);
    return stored.error(kGptq);
  };
  CHECK(with({2, 2}, {2, 16}, "").empty());
  CHECK(with({2, 2}, {2, 16}, std::string_view("\2\0\0\0", 4)) ==
        "model.safetensors: tensor 'a.g_idx' of type I32 and shape [64]: column 0 belongs to group 2, there "
        "are 2");
  CHECK(with({2, 2}, {2, 16}, "\xFF\xFF\xFF\xFF").ends_with("column 0 belongs to group -1, there are 2"));
  CHECK(with({2, 1}, {2, 16}, "").ends_with("its shape must be [2,2]"));
  CHECK(with({2, 2}, {3, 16}, "").ends_with("its shape must be [2,16]"));
  CHECK(Stored().add("a.qweight", "I32", {8, 16}).error(kGptq) ==
        "model.safetensors: quantised module 'a' has no tensor '.qzeros'");
  CHECK(Stored()
            .add("a.qweight", "I32", {8})
            .add("a.qzeros", "I32", {8})
            .add("a.scales", "F16", {8})
            .error(kGptq)
            .ends_with("it must have 2 dimensions"));
  CHECK(Stored()
            .add("a.qweight", "I32", {0, 16})
            .add("a.qzeros", "I32", {8})
            .add("a.scales", "F16", {8})
            .error(kGptq)
            .ends_with("it is empty"));
}

TEST_CASE("bitsandbytes parts that do not fit together are refused") {
  const auto with = [](std::string_view state, int64_t codes) {
    Stored stored;
    stored.add("a.weight", "U8", {codes, 1}).add("a.weight.absmax", "F32", {2});
    stored.add("a.weight.quant_map", "F32", {16});
    stored.add("a.weight.quant_state.bitsandbytes__nf4", "U8", {static_cast<int64_t>(state.size())}, state);
    return stored.error(kBits);
  };
  CHECK(with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [16, 8]})", 64).empty());
  CHECK(with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [16, 8]})", 63)
            .ends_with("128 4-bit codes do not fill its 63 bytes"));
  CHECK(with(R"({"quant_type": "nf4", "blocksize": 32, "shape": [16, 8]})", 64)
            .ends_with("its shape must be [4]"));
  CHECK(with(R"({"quant_type": "fp4", "blocksize": 64, "shape": [16, 8]})", 64)
            .ends_with("'quant_type' is not that of its name"));
  CHECK(with(R"({"quant_type": "nf4", "blocksize": 0, "shape": [16, 8]})", 64)
            .ends_with("'blocksize' must be an integer above 0"));
  CHECK(with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [-1, 8]})", 64)
            .ends_with("'shape' must hold integers above 0"));
  CHECK(with(R"({"quant_type": "nf4", "blocksize": 64, "shape": [1099511627776, 1099511627776]})", 64)
            .ends_with("its dimensions are too large"));
  CHECK(with("{", 64).starts_with("model.safetensors: tensor 'a.weight.quant_state.bitsandbytes__nf4'"));
  Stored bytes;
  bytes.add("a.weight", "I8", {4, 4}).add("a.SCB", "F32", {4}).add("a.weight_format", "U8", {}, "\1");
  CHECK(bytes.error(kBits).ends_with("only weights in row order (0) are supported"));
}

TEST_CASE("scaled and packed parts that do not fit together are refused") {
  const auto fp8 = [](std::string_view type, std::vector<int64_t> scale) {
    return Stored()
        .add("a.weight", type, {8, 8})
        .add("a.weight_scale_inv", "F32", std::move(scale))
        .error(kFp8);
  };
  CHECK(fp8("F8_E4M3", {2, 2}).empty());
  CHECK(fp8("F8_E4M3", {2, 3}).ends_with("its shape must be [2,2]"));
  CHECK(fp8("I8", {2, 2}).ends_with("its type must be F8_E4M3 or F8_E5M2"));
  const auto packed = [](std::string_view shape, std::vector<int64_t> scale) {
    Stored stored;
    stored.add("a.weight_packed", "I32", {4, 8}).add("a.weight_shape", "I32", {2}, shape);
    return stored.add("a.weight_scale", "BF16", std::move(scale)).error(kPacked);
  };
  CHECK(packed(std::string_view("\4\0\0\0\x40\0\0\0", 8), {4, 2}).empty());
  CHECK(packed(std::string_view("\4\0\0\0\x40\0\0\0", 8), {4, 3})
            .ends_with("64 columns are no whole number of groups"));
  CHECK(packed(std::string_view("\4\0\0\0\x40\0\0\0", 8), {5, 2}).ends_with("there are 4 rows"));
  CHECK(packed(std::string_view("\5\0\0\0\x40\0\0\0", 8), {4, 2})
            .ends_with("[5,64] does not fit 'a.weight_packed'"));
  CHECK(packed(std::string_view("\4\0\0\0\x20\0\0\0", 8), {4, 2})
            .ends_with("32 columns of 4 or 8 bits, as the config has them, do not fill its rows"));
}

}  // namespace llmhost::model
