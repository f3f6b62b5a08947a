#include "model/gguf.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "model/gguf_builder.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

using test::GgufBuilder;

GgufFile parse(const GgufBuilder& builder) {
  return GgufFile::from_bytes(builder.bytes(), "t.gguf");
}

std::string error_of(const GgufBuilder& builder) {
  try {
    parse(builder);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("metadata of every type, as the gguf package wrote it") {
  const GgufFile file = GgufFile::open(test::data("model/metadata.gguf"));
  CHECK(file.version() == 3);
  CHECK(file.alignment() == 64);
  CHECK(file.get_string("general.architecture") == "unit");
  CHECK(file.get_u64("test.u8") == 200);
  CHECK(file.get_i64("test.i8") == -100);
  CHECK(file.get_u64("test.u16") == 60000);
  CHECK(file.get_i64("test.i16") == -30000);
  CHECK(file.get_u64("test.u32") == 4000000000);
  CHECK(file.get_i64("test.i32") == -2000000000);
  CHECK(file.get_f32("test.f32") == 0.1F);
  CHECK(file.get_f64("test.f64") == 0.1);
  CHECK(file.get_bool("test.bool"));
  CHECK(file.get_string("test.string") == "gr\u00fc\u00dfe");
  CHECK(file.get_u64("test.u64") == std::numeric_limits<uint64_t>::max());
  CHECK(file.get_i64("test.i64") == std::numeric_limits<int64_t>::min());
  CHECK(file.get_array("test.strings").to_strings() == std::vector<std::string_view>{"a", "", "three"});
  CHECK(file.get_array("test.floats").to_f32() == std::vector<float>{0.5F, -1.5F});
  CHECK(file.get_array("test.bools").bool_at(0));
  CHECK_FALSE(file.get_array("test.bools").bool_at(1));
  std::vector<std::vector<int64_t>> nested;
  for (const GgufArray& inner : file.get_array("test.nested").arrays()) nested.push_back(inner.to_i64());
  CHECK(nested == std::vector<std::vector<int64_t>>{{1, 2, 3}, {4}});
}

TEST_CASE("typed getters say which file and key are wrong") {
  const GgufFile file = GgufFile::open(test::data("model/metadata.gguf"));
  const std::string name = file.name();
  CHECK(file.find("absent") == nullptr);
  CHECK_FALSE(file.try_u64("absent").has_value());
  CHECK_THROWS_WITH_AS(file.get_u64("absent"), (name + ": metadata 'absent' is missing").c_str(), Error);
  CHECK_THROWS_WITH_AS(file.get_u64("test.string"),
                       (name + ": metadata 'test.string' has type string, an integer is needed").c_str(),
                       Error);
  CHECK_THROWS_WITH_AS(file.get_u64("test.i8"), (name + ": metadata 'test.i8' is negative").c_str(), Error);
  CHECK_THROWS_AS(file.get_i64("test.u64"), Error);
  CHECK_THROWS_AS(file.get_string("test.u8"), Error);
  CHECK_THROWS_AS(file.get_bool("test.u8"), Error);
  CHECK_THROWS_AS(file.get_f32("test.string"), Error);
  CHECK_THROWS_AS(file.get_array("test.u8"), Error);
  CHECK_THROWS_AS(file.get_array("test.floats").strings(), Error);
  CHECK_THROWS_AS(file.get_array("test.floats").arrays(), Error);
  CHECK_THROWS_AS(file.get_array("test.floats").u64_at(0), Error);
  CHECK_THROWS_AS(file.get_array("test.floats").f64_at(2), Error);
  CHECK_THROWS_AS(file.get_array("test.strings").f64_at(0), Error);
}

TEST_CASE("tensors have stored dimensions, a row-major shape and their bytes") {
  const GgufFile file = GgufFile::open(test::data("model/metadata.gguf"));
  const GgufTensor* matrix = file.find_tensor("matrix");
  REQUIRE(matrix != nullptr);
  CHECK(matrix->dtype == LLMH_DTYPE_F32);
  CHECK(matrix->shape() == std::vector<int64_t>{2, 3});
  CHECK(std::vector<uint64_t>(matrix->dims().begin(), matrix->dims().end()) == std::vector<uint64_t>{3, 2});
  float values[6];
  REQUIRE(matrix->data().size() == sizeof values);
  std::memcpy(values, matrix->data().data(), sizeof values);
  for (int i = 0; i < 6; ++i) CHECK(values[i] == static_cast<float>(i));
  const GgufTensor* blocks = file.find_tensor("blocks");
  REQUIRE(blocks != nullptr);
  CHECK(blocks->dtype == LLMH_DTYPE_Q8_0);
  CHECK(blocks->shape() == std::vector<int64_t>{2, 64});
  CHECK(blocks->data().size() == 4 * 34);
  CHECK(file.find_tensor("nothing") == nullptr);
}

TEST_CASE("a tensor of an unknown type is listed, and refused when it is used") {
  const GgufFile file = GgufFile::open(test::data("model/metadata.gguf"));
  const GgufTensor* tensor = file.find_tensor("unknown");
  REQUIRE(tensor != nullptr);
  CHECK(tensor->dtype == LLMH_DTYPE_INVALID);
  CHECK(tensor->ggml_type == 15);
  CHECK(tensor->shape() == std::vector<int64_t>{1, 256});
  try {
    static_cast<void>(tensor->data());
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kUnimplemented);
    CHECK(contains(error.what(), "tensor 'unknown' has ggml type 15"));
  }
}

TEST_CASE("a real model opens") {
  const GgufFile file = GgufFile::open(test::data("model/stories260K-q4_0.gguf"));
  CHECK(file.tensors().size() == 47);
  CHECK(file.get_array("tokenizer.ggml.tokens").size() == 512);
  CHECK(file.get_array("tokenizer.ggml.scores").to_f32().size() == 512);
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : file.tensors()) bytes += tensor.data().size();
  CHECK(bytes == 227808);
}

TEST_CASE("any part of a split model opens all of it") {
  for (const char* part : {"1", "2", "3"}) {
    const std::string name = std::string("model/split-0000") + part + "-of-00003.gguf";
    const GgufFile file = GgufFile::open(test::data(name));
    CHECK(file.part_paths().size() == 3);
    CHECK(file.get_u64("unit.block_count") == 1);
    REQUIRE(file.tensors().size() == 3);
    for (int i = 0; i < 3; ++i) {
      const GgufTensor* tensor = file.find_tensor("tensor." + std::to_string(i));
      REQUIRE(tensor != nullptr);
      float value = -1;
      std::memcpy(&value, tensor->data().data(), sizeof value);
      CHECK(value == static_cast<float>(i));
    }
  }
}

TEST_CASE("parts that are missing or misnamed are named") {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(LLMHOST_BINARY_DIR) / "test-gguf-split";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const auto copy = [&](const char* from, const char* to) {
    fs::copy_file(test::data(fs::path("model") / from), folder / to, fs::copy_options::overwrite_existing);
  };
  copy("split-00001-of-00003.gguf", "m-00001-of-00003.gguf");
  CHECK_THROWS_WITH_AS(
      GgufFile::open(folder / "m-00001-of-00003.gguf"),
      (folder.string() +
       ": 2 of 3 parts of the split model are missing: m-00002-of-00003.gguf, m-00003-of-00003.gguf")
          .c_str(),
      Error);
  copy("split-00001-of-00003.gguf", "alone.gguf");
  CHECK_THROWS_AS(GgufFile::open(folder / "alone.gguf"), Error);
  copy("split-00003-of-00003.gguf", "m-00002-of-00003.gguf");
  copy("split-00002-of-00003.gguf", "m-00003-of-00003.gguf");
  CHECK_THROWS_AS(GgufFile::open(folder / "m-00001-of-00003.gguf"), Error);
  copy("metadata.gguf", "n-00001-of-00002.gguf");
  CHECK_THROWS_AS(GgufFile::open(folder / "n-00001-of-00002.gguf"), Error);
  fs::remove_all(folder);
}

TEST_CASE("versions: 2 is read; 1, later ones and big-endian files are refused by name") {
  CHECK(parse(GgufBuilder(0, 0, 2)).version() == 2);
  CHECK(contains(error_of(GgufBuilder(0, 0, 1)), "GGUF version 1 is not supported"));
  CHECK(contains(error_of(GgufBuilder(0, 0, 4)), "GGUF version 4 is not known"));
  CHECK(contains(error_of(GgufBuilder(0, 0, 0)), "GGUF version 0 is not known"));
  CHECK(contains(error_of(GgufBuilder(0, 0, 3U << 24)), "big-endian"));
  GgufBuilder other(0, 0);
  other.raw().replace(0, 4, "ggjt");
  CHECK(contains(error_of(other), "not a GGUF file: it begins with 'ggjt'"));
}

TEST_CASE("duplicate keys and tensor names are refused") {
  CHECK(contains(error_of(GgufBuilder(0, 2).u32("a", 1).u32("a", 2)), "metadata key 'a' occurs twice"));
  GgufBuilder tensors(2, 0);
  tensors.tensor("t", {2}, 0, 0).tensor("t", {2}, 0, 0).data(8);
  CHECK(contains(error_of(tensors), "tensor 't' occurs twice"));
}

TEST_CASE("alignment is a power of two within bounds") {
  for (const uint32_t bad : {0U, 3U, 48U, 1U << 21, ~0U})
    CHECK(contains(error_of(GgufBuilder(0, 1).u32("general.alignment", bad)), "is not a power of two up to"));
  CHECK(contains(error_of(GgufBuilder(0, 1).f32("general.alignment", 32)),
                 "has type f32, an integer is needed"));
  GgufBuilder misaligned(1, 0);
  CHECK(contains(error_of(misaligned.tensor("t", {1}, 0, 4).data(64)), "offset of 't'"));
  GgufBuilder tight(1, 1);
  CHECK(
      parse(tight.u32("general.alignment", 1).tensor("t", {1}, 0, 3).data(7, 1)).tensors()[0].data().size() ==
      4);
}

TEST_CASE("dimensions and sizes cannot overflow or leave the file") {
  const auto one = [](const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset = 0) {
    GgufBuilder builder(1, 0);
    return error_of(builder.tensor("t", dims, type, offset).data(64));
  };
  CHECK(one({16}, 0) == "accepted");
  CHECK(one({}, 0) == "accepted");
  CHECK(contains(one({17}, 0), "reach past the 64 bytes of tensor data"));
  CHECK(contains(one({8}, 0, 64), "reach past"));
  CHECK(contains(one({8}, 0, 96), "is outside the 64 bytes"));
  CHECK(contains(one({0}, 0), "dimension 0 is 0"));
  CHECK(contains(one({1, 1, 1, 1, 1}, 0), "5 dimensions, at most 4 are allowed"));
  CHECK(contains(one({uint64_t{1} << 32, uint64_t{1} << 32}, 0), "the number of elements overflows"));
  CHECK(contains(one({uint64_t{1} << 31, uint64_t{1} << 31}, 28), "reach past"));
  CHECK(contains(one({33}, 8), "rows of 33 are not whole q8_0 blocks of 32"));
}

TEST_CASE("arrays nest only so deep, and empty ones are fine") {
  GgufBuilder empty(0, 1);
  CHECK(parse(empty.array("e", 5, 0)).get_array("e").to_i64().empty());
  for (const int depth : {3, 40}) {
    GgufBuilder deep(0, 1);
    deep.array("deep", 9, 1);
    for (int i = 0; i < depth - 2; ++i) deep.put<uint32_t>("type", 9).put<uint64_t>("length", 1);
    deep.put<uint32_t>("type", 4).put<uint64_t>("length", 0);
    CHECK((error_of(deep) == "accepted") == (depth == 3));
  }
}

TEST_CASE("error messages stay on one line whatever the key holds") {
  const std::string message = error_of(GgufBuilder(0, 1).entry<uint32_t>("a\nb\xff", 77, 0));
  CHECK(contains(message, "'a\\x0ab\\xff'"));
  CHECK_FALSE(contains(message, "\n"));
}

}  // namespace
}  // namespace llmhost::model
