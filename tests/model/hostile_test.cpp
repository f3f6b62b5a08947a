// Damaged and hostile files: each is refused with one line that names the file, or accepted when harmless, in
// less than 100 ms and without more than 64 MiB of memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/allocation_count.h"
#include "model/checkpoint.h"
#include "model/checkpoint_files.h"
#include "model/gguf.h"
#include "model/gguf_builder.h"
#include "model/gguf_config.h"
#include "model/safetensors.h"
#include "support/paths.h"
#include "support/sanitizer.h"

namespace llmhost::model {
namespace {

constexpr double kMaxMilliseconds = 100 * llmhost::test::kSanitizerFactor;
constexpr size_t kMaxAllocated = size_t{64} << 20;
constexpr size_t kMaxMessageBytes = 1000;

// Of this thread: other processes on a busy machine do not count.
double cpu_milliseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// Runs `read`; empty when it accepted, else the error's message.
std::string outcome(const std::function<void()>& read) {
  std::string message;
  test::reset_peak_allocated();
  const double start = cpu_milliseconds();
  try {
    read();
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(cpu_milliseconds() - start < kMaxMilliseconds);
  CHECK(test::peak_allocated() < kMaxAllocated);
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.size() < kMaxMessageBytes);
  if (!message.empty()) CHECK(message.starts_with("hostile"));
  return message;
}

// Everything that a caller can do with a file.
std::string read_gguf(std::string_view bytes) {
  return outcome([&] {
    const GgufFile file = GgufFile::from_bytes(std::as_bytes(std::span(bytes)), "hostile.gguf");
    unsigned sum = 0;
    for (const GgufTensor& tensor : file.tensors())
      if (tensor.dtype != LLMH_DTYPE_INVALID)
        for (const std::byte b : tensor.data()) sum += std::to_integer<unsigned>(b);
    for (const GgufValue& value : file.metadata())
      if (value.type() == GgufType::kArray && value.as_array().element_type() == GgufType::kString)
        for (const std::string_view text : value.as_array().strings())
          sum += static_cast<unsigned>(text.size());
    const Json config = gguf_to_config(file).config;
    CHECK_FALSE(config.dump().empty());
    gguf_generation_config(file);
    static_cast<void>(sum);
  });
}

std::string read_safetensors(std::string_view bytes) {
  return outcome([&] {
    const auto file = SafetensorsFile::from_bytes(std::as_bytes(std::span(bytes)), "hostile.safetensors");
    unsigned sum = 0;
    for (const SafetensorsTensor& tensor : file.tensors())
      if (tensor.dtype != LLMH_DTYPE_INVALID)
        for (const std::byte b : tensor.data()) sum += std::to_integer<unsigned>(b);
    static_cast<void>(sum);
  });
}

std::string read_config(std::string_view text) {
  return outcome([&] { parse_generation_config(parse_model_config(text, "hostile.json"), "hostile.json"); });
}

const std::vector<uint64_t> kExtremes = {
    0, ~uint64_t{0},      uint64_t{1} << 31, uint64_t{1} << 63, (uint64_t{1} << 63) - 1,
    1, uint64_t{1} << 16, uint64_t{1} << 32};

TEST_CASE("every GGUF header field at its extremes") {
  const test::GgufBuilder good = test::rich_gguf();
  const std::string bytes(reinterpret_cast<const char*>(good.bytes().data()), good.bytes().size());
  REQUIRE(read_gguf(bytes).empty());
  int refused = 0;
  for (const test::Field& field : good.fields()) {
    CAPTURE(field.name);
    for (const uint64_t extreme : kExtremes) {
      std::string changed = bytes;
      std::memcpy(changed.data() + field.offset, &extreme, field.size);
      refused += read_gguf(changed).empty() ? 0 : 1;
    }
  }
  CHECK(good.fields().size() > 50);
  CHECK(refused > 200);
}

TEST_CASE("lengths that cannot be true are refused whatever follows") {
  const test::GgufBuilder good = test::rich_gguf();
  for (const test::Field& field : good.fields()) {
    if (field.size != 8 || field.name == "value" || field.name == "offset" || field.name == "dimension")
      continue;
    CAPTURE(field.name);
    for (const uint64_t extreme : {~uint64_t{0}, uint64_t{1} << 31, uint64_t{1} << 63}) {
      std::string changed(reinterpret_cast<const char*>(good.bytes().data()), good.bytes().size());
      std::memcpy(changed.data() + field.offset, &extreme, field.size);
      CHECK_FALSE(read_gguf(changed).empty());
    }
  }
}

TEST_CASE("GGUF files cut short anywhere") {
  const test::GgufBuilder built = test::rich_gguf();
  const std::string rich(reinterpret_cast<const char*>(built.bytes().data()), built.bytes().size());
  for (size_t size = 0; size < rich.size(); ++size) read_gguf(std::string_view(rich).substr(0, size));
  const MappedFile real(test::data("model/stories260K-q4_0.gguf"));
  const std::string_view text(reinterpret_cast<const char*>(real.bytes().data()), real.bytes().size());
  for (size_t i = 0; i < 200; ++i) CHECK_FALSE(read_gguf(text.substr(0, text.size() * i / 200)).empty());
}

TEST_CASE("GGUF files with one damaged byte") {
  const test::GgufBuilder built = test::rich_gguf();
  std::string rich(reinterpret_cast<const char*>(built.bytes().data()), built.bytes().size());
  for (char& byte : rich) {
    const char before = byte;
    for (const int bits : {0x01, 0x80, 0xFF}) {
      byte = static_cast<char>(before ^ bits);
      read_gguf(rich);
    }
    byte = before;
  }
}

TEST_CASE("a megabyte of the smallest GGUF entries stays cheap") {
  const auto entries = [](uint64_t count, const std::function<void(std::string&, uint64_t)>& add,
                          bool tensors) {
    test::GgufBuilder builder(tensors ? count : 0, tensors ? 0 : count);
    for (uint64_t i = 0; i < count; ++i) add(builder.raw(), i);
    builder.raw().append(64, '\0');
    return builder.raw();
  };
  const auto put = [](std::string& out, auto value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  read_gguf(entries(
      55000,
      [&](std::string& out, uint64_t i) {
        put(out, uint64_t{3});
        out.append(reinterpret_cast<const char*>(&i), 3);
        put(out, uint32_t{0});
        put(out, uint8_t{1});
      },
      false));
  read_gguf(entries(
      35000,
      [&](std::string& out, uint64_t i) {
        put(out, uint64_t{3});
        out.append(reinterpret_cast<const char*>(&i), 3);
        put(out, uint32_t{0});
        put(out, uint32_t{0});
        put(out, uint64_t{0});
      },
      true));
  test::GgufBuilder nested(0, 2);
  nested.text("general.architecture", "u").array("u.x", 9, 60000);
  for (int i = 0; i < 60000; ++i) nested.put<uint32_t>("type", 9).put<uint64_t>("length", 0);
  read_gguf(nested.raw());
  test::GgufBuilder strings(0, 2);
  strings.text("general.architecture", "u").array("u.x", 8, 125000).raw().append(1000000, '\0');
  read_gguf(strings.raw());
}

TEST_CASE("a vocabulary of 256k tokens is neither slow nor copied") {
  constexpr int kTokens = 256000;
  test::GgufBuilder builder(0, 2);
  builder.text("general.architecture", "unit").array("tokenizer.ggml.tokens", 8, kTokens);
  for (int i = 0; i < kTokens; ++i) {
    const uint64_t length = 8;
    builder.raw().append(reinterpret_cast<const char*>(&length), sizeof length).append("token is");
  }
  CHECK(read_gguf(builder.raw()).empty());
  CHECK(test::peak_allocated() < 100000);
}

// Resident pages and the number of mappings of this process.
std::pair<size_t, size_t> memory_in_use() {
  size_t total = 0;
  size_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  std::ifstream maps("/proc/self/maps");
  const auto lines = std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n');
  return {resident, static_cast<size_t>(lines)};
}

TEST_CASE("files that are refused leave no mapping and no memory behind") {
  const std::filesystem::path path = std::filesystem::path(LLMHOST_BINARY_DIR) / "hostile.gguf";
  const std::string rich = test::rich_gguf().raw();
  const auto open_cut_short = [&](size_t size) {
    write_file_atomically(path, std::string_view(rich).substr(0, size));
    CHECK_THROWS_AS(GgufFile::open(path), Error);
    CHECK_THROWS_AS(SafetensorsFile::open(path), Error);
  };
  open_cut_short(100);
  const auto [pages, mappings] = memory_in_use();
  for (size_t i = 0; i < 200; ++i) open_cut_short(i * 3);
  const auto [pages_after, mappings_after] = memory_in_use();
  CHECK(mappings_after <= mappings + 2);  // the allocator may grow by one or two
  CHECK(pages_after <= pages + 256 * llmhost::test::kSanitizerFactor);  // 1 MiB
  std::filesystem::remove(path);
}

std::string safetensors_of(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  bytes += header;
  return bytes.append(data_bytes, '\1');
}

TEST_CASE("every safetensors header field at its extremes") {
  const std::string values[] = {"0",
                                "-1",
                                "2147483648",
                                "9223372036854775808",
                                "18446744073709551615",
                                "1e9",
                                "99999999999999999999999",
                                "\"\"",
                                "null",
                                "[]",
                                "{}",
                                "true"};
  const std::string good =
      R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{"k":"v"}})";
  REQUIRE(read_safetensors(safetensors_of(good, 24)).empty());
  for (const std::string field :
       {"\"F32\"", "[2,3]", "2,", "3]", "[0,24]", "0,", "24]", "{\"k\":\"v\"}", "\"v\""}) {
    const size_t at = good.find(field);
    REQUIRE(at != std::string::npos);
    const bool is_element = field.back() == ',' || (field.back() == ']' && field.front() != '[');
    for (const std::string& value : values) {
      CAPTURE(field);
      CAPTURE(value);
      std::string changed = good;
      changed.replace(at, is_element ? field.size() - 1 : field.size(), value);
      read_safetensors(safetensors_of(changed, 24));
    }
  }
  for (const uint64_t extreme : kExtremes) {
    std::string changed = safetensors_of(good, 24);
    std::memcpy(changed.data(), &extreme, sizeof extreme);
    CHECK_FALSE(read_safetensors(changed).empty());
  }
}

TEST_CASE("safetensors files cut short or damaged anywhere") {
  const MappedFile real(test::data("model/sharded/model-00003-of-00005.safetensors"));
  const std::string text(reinterpret_cast<const char*>(real.bytes().data()), real.bytes().size());
  for (size_t i = 0; i < 200; ++i)
    CHECK_FALSE(read_safetensors(std::string_view(text).substr(0, text.size() * i / 200)).empty());
  for (size_t size = 0; size < 600; ++size)
    CHECK_FALSE(read_safetensors(std::string_view(text).substr(0, size)).empty());
  for (size_t i = 0; i < 600; ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 0x15);
    read_safetensors(changed);
  }
}

std::string repeated(std::string_view text, size_t total_bytes) {
  std::string result;
  while (result.size() + text.size() <= total_bytes) result += text;
  return result;
}

TEST_CASE("deep and huge JSON") {
  constexpr size_t kMegabyte = 1000000;
  std::vector<std::string> texts;
  for (const char* open : {"[", "{\"a\":", "[{\"a\":"}) {
    texts.push_back(repeated(open, 100));
    texts.push_back(repeated(open, kMegabyte));
    texts.push_back("{\"a\":" + repeated(open, kMegabyte));
  }
  for (const char* element : {"[],", "{},", "[[]],", "0,", "\"\",", "{\"\":0},", "{\"\":{\"\":0}},"})
    texts.push_back("{\"a\":[" + repeated(element, kMegabyte) + "0]}");
  std::string members = "{";
  for (int i = 0; i < 100000; ++i) members += fmt::format("\"{:x}\":0,", i);
  texts.push_back(members + "\"x\":0}");
  texts.push_back("{\"eos_token_id\":[" + repeated("1,", kMegabyte) + "1]}");
  texts.push_back("{\"a\":\"" + std::string(kMegabyte, 'x'));
  texts.push_back("{\"a\":" + std::string(kMegabyte, '9') + "}");
  texts.push_back("{\"a\":nul" + std::string(kMegabyte, 'x') + "}");
  texts.push_back("{\"" + std::string(kMegabyte, 'x') + "\":1}");
  texts.push_back("{\"a\":\"\xff\n\"}");
  texts.push_back("");
  for (const std::string& text : texts) {
    CAPTURE(text.substr(0, 40));
    read_config(text);
    read_safetensors(safetensors_of(text, 0));
    outcome([&] { parse_weight_map(text, "hostile.index.json"); });
    outcome([&] { parse_weight_map("{\"weight_map\":" + text + "}", "hostile.index.json"); });
  }
}

}  // namespace
}  // namespace llmhost::model
