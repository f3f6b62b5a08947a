#include "model/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "support/paths.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

std::string file_of(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  bytes += header;
  return bytes.append(data_bytes, '\1');
}

std::string error_of(const std::string& bytes) {
  try {
    SafetensorsFile::from_bytes(std::as_bytes(std::span(bytes)), "t");
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

template <typename T>
T element(const SafetensorsTensor& tensor, size_t index) {
  REQUIRE(tensor.data().size() >= (index + 1) * sizeof(T));
  T value;
  std::memcpy(&value, tensor.data().data() + index * sizeof value, sizeof value);
  return value;
}

TEST_CASE("every element type, as the safetensors package wrote it") {
  const SafetensorsFile file = SafetensorsFile::open(test::data("model/dtypes.safetensors"));
  CHECK(file.metadata().at("format") == "np");
  CHECK(file.tensors().size() == 12);
  const auto check = [&]<typename T>(const char* name, llmh_dtype dtype, T one) {
    CAPTURE(name);
    const SafetensorsTensor* tensor = file.find(name);
    REQUIRE(tensor != nullptr);
    CHECK(tensor->dtype == dtype);
    CHECK(tensor->shape == std::vector<int64_t>{2, 3});
    CHECK(element<T>(*tensor, 0) == T{0});
    CHECK(element<T>(*tensor, 1) == one);
    CHECK(element<T>(*tensor, 4) == T{0});
  };
  check("float64", LLMH_DTYPE_F64, 1.0);
  check("float32", LLMH_DTYPE_F32, 1.0F);
  check("float16", LLMH_DTYPE_F16, uint16_t{0x3C00});
  check("int64", LLMH_DTYPE_I64, int64_t{1});
  check("int32", LLMH_DTYPE_I32, int32_t{1});
  check("int16", LLMH_DTYPE_I16, int16_t{1});
  check("int8", LLMH_DTYPE_I8, int8_t{1});
  check("uint8", LLMH_DTYPE_U8, uint8_t{1});
  check("bool", LLMH_DTYPE_BOOL, uint8_t{1});
  CHECK(file.find("scalar")->shape.empty());
  CHECK(element<float>(*file.find("scalar"), 0) == 2.5F);
  CHECK(file.find("empty")->data().empty());
  CHECK(file.find("absent") == nullptr);
}

TEST_CASE("an element type that is not read is listed, and refused when it is used") {
  const SafetensorsFile file = SafetensorsFile::open(test::data("model/dtypes.safetensors"));
  REQUIRE(file.find("uint16") != nullptr);
  CHECK(file.find("uint16")->dtype_name == "U16");
  CHECK(file.find("uint16")->size_bytes == 12);
  CHECK_THROWS_WITH_AS(
      static_cast<void>(file.find("uint16")->data()),
      (file.name() + ": tensor 'uint16' has dtype 'U16', which is not supported; convert it to BF16").c_str(),
      Error);
}

TEST_CASE("tensors must cover the data exactly") {
  const auto two = [](const char* first, const char* second, size_t data) {
    return error_of(file_of(std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
                                R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                            data));
  };
  CHECK(two("[0,4]", "[4,8]", 8) == "accepted");
  CHECK(two("[4,8]", "[0,4]", 8) == "accepted");
  CHECK(two("[0,4]", "[5,9]", 9) ==
        "t: tensor 'b': data_offsets begin at 5, but the data before end at 4: there is a hole");
  CHECK(two("[0,4]", "[3,7]", 8) ==
        "t: tensor 'b': data_offsets begin at 3, but the data before end at 4: tensors overlap");
  CHECK(two("[0,4]", "[4,8]", 9) ==
        "t: 1 bytes follow the last tensor; the header does not belong to the data");
  CHECK(two("[0,4]", "[4,8]", 7).find("are not a range within the 7 bytes of data") != std::string::npos);
  CHECK(two("[0,4]", "[8,4]", 8).find("are not a range") != std::string::npos);
  CHECK(two("[0,4]", "[4,9]", 9) ==
        "t: tensor 'b': data_offsets span 5 bytes, but U8 elements of its shape need 4");
}

TEST_CASE("malformed entries are named") {
  const auto entry = [](const std::string& text) { return error_of(file_of(R"({"a":)" + text + "}", 4)); };
  CHECK(entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1})") == "accepted");
  CHECK(entry("1") == "t: tensor 'a': entry is not an object");
  CHECK(entry(R"({"dtype":"F32","shape":[1]})") == "t: tensor 'a': data_offsets is missing");
  CHECK(entry(R"({"dtype":1,"shape":[1],"data_offsets":[0,4]})") == "t: tensor 'a': dtype is not a string");
  CHECK(entry(R"({"dtype":"F32","shape":4,"data_offsets":[0,4]})") == "t: tensor 'a': shape is not an array");
  CHECK(entry(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})") ==
        "t: tensor 'a': shape has an element that is no integer from 0 to 2^63 - 1");
  CHECK(entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0.0,4]})") ==
        "t: tensor 'a': data_offsets are not two integers >= 0");
  CHECK(entry(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})") ==
        "t: tensor 'a': shape overflows the number of bytes");
  CHECK(error_of(file_of(R"({"__metadata__":{"a":1}})", 0)) == "t: __metadata__ 'a' is not a string");
  CHECK(error_of(file_of("[]", 0)) == "t: header: does not begin with '{'; it is not a safetensors file");
  CHECK(error_of("short").find("t: header length: needs 8 bytes") == 0);
  CHECK(error_of(file_of("{", 0)).find("t: header: not valid JSON") == 0);
}

TEST_CASE("what is written is read again") {
  const fs::path folder = fs::path(LLMHOST_BINARY_DIR) / "test-safetensors";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const fs::path path = folder / "w.safetensors";
  const std::vector<float> floats = {1.5F, -2, 3};
  const std::vector<uint8_t> bytes = {1, 2, 3, 4, 5};
  write_safetensors(path,
                    {{"\u00fc\"x", LLMH_DTYPE_U8, {5}, std::as_bytes(std::span(bytes))},
                     {"f", LLMH_DTYPE_F32, {3, 1}, std::as_bytes(std::span(floats))},
                     {"none", LLMH_DTYPE_BF16, {0, 7}, {}}},
                    {{"format", "pt"}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.metadata().at("format") == "pt");
  REQUIRE(file.find("f") != nullptr);
  CHECK(element<float>(*file.find("f"), 1) == -2);
  CHECK(file.find("f")->shape == std::vector<int64_t>{3, 1});
  CHECK(element<uint8_t>(*file.find("\u00fc\"x"), 4) == 5);
  CHECK(file.find("none")->dtype == LLMH_DTYPE_BF16);
  // Wide types first and the header padded: floats are aligned in the file.
  CHECK(reinterpret_cast<uintptr_t>(file.find("f")->begin) % alignof(float) == 0);
  fs::remove_all(folder);
}

TEST_CASE("an unfinished or wrong writer leaves nothing behind") {
  const fs::path folder = fs::path(LLMHOST_BINARY_DIR) / "test-safetensors-unfinished";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const std::vector<uint8_t> bytes(8);
  const std::vector<int64_t> shape = {8};
  const auto view = std::as_bytes(std::span(bytes));
  {
    SafetensorsWriter writer(folder / "a.safetensors");
    writer.declare("t", LLMH_DTYPE_U8, shape);
    CHECK_THROWS_AS(writer.declare("t", LLMH_DTYPE_U8, shape), Error);
    CHECK_THROWS_AS(writer.declare("__metadata__", LLMH_DTYPE_U8, shape), Error);
    CHECK_THROWS_AS(writer.declare("q", LLMH_DTYPE_Q4_0, shape), Error);
    CHECK_THROWS_AS(writer.declare("n", LLMH_DTYPE_U8, std::vector<int64_t>{-1}), Error);
    CHECK_THROWS_AS(writer.declare("o", LLMH_DTYPE_F32, std::vector<int64_t>{INT64_MAX, 2}), Error);
    writer.write(view.first(5));
    CHECK_THROWS_AS(writer.declare("late", LLMH_DTYPE_U8, shape), Error);
    CHECK_THROWS_AS(writer.finish(), Error);
    CHECK_THROWS_AS(writer.write(view), Error);
  }
  CHECK(fs::is_empty(folder));
  CHECK_THROWS_AS(SafetensorsWriter(folder / "no-such-folder" / "a.safetensors"), Error);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace llmhost::model
