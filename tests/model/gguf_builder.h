// Builds GGUF files byte by byte for tests and remembers where each field lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::test {

struct Field {
  std::string name;
  size_t offset;
  size_t size;
};

class GgufBuilder {
 public:
  explicit GgufBuilder(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
    bytes_ = "GGUF";
    put("version", version);
    put("tensor_count", tensors);
    put("metadata_kv_count", entries);
  }

  template <typename T>
  GgufBuilder& put(const std::string& field, T value) {
    fields_.push_back({field, bytes_.size(), sizeof value});
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }

  GgufBuilder& string(const std::string& field, std::string_view text) {
    put<uint64_t>(field + " length", text.size());
    bytes_ += text;
    return *this;
  }

  // key, value type and a scalar
  template <typename T>
  GgufBuilder& entry(std::string_view key, uint32_t type, T value) {
    return string("key", key).template put<uint32_t>("value type", type).put("value", value);
  }
  GgufBuilder& u32(std::string_view key, uint32_t value) { return entry(key, 4, value); }
  GgufBuilder& f32(std::string_view key, float value) { return entry(key, 6, value); }
  GgufBuilder& flag(std::string_view key, bool value) { return entry(key, 7, static_cast<uint8_t>(value)); }
  GgufBuilder& text(std::string_view key, std::string_view value) {
    return string("key", key).put<uint32_t>("value type", 8).string("string", value);
  }
  GgufBuilder& array(std::string_view key, uint32_t element_type, uint64_t count) {
    string("key", key).put<uint32_t>("value type", 9);
    return put("array element type", element_type).put("array length", count);
  }

  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                      uint64_t offset) {
    string("tensor name", name).put<uint32_t>("dimension count", static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) put("dimension", dim);
    return put("type", type).put("offset", offset);
  }

  GgufBuilder& data(size_t size, size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    bytes_.resize(bytes_.size() + size, '\x11');
    return *this;
  }

  std::string& raw() { return bytes_; }
  const std::vector<Field>& fields() const { return fields_; }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(bytes_)); }

 private:
  std::string bytes_;
  std::vector<Field> fields_;
};

// A file with every kind of field: scalars, strings, arrays of all kinds, plain and quantised tensors.
inline GgufBuilder rich_gguf() {
  GgufBuilder b(3, 9);
  b.text("general.architecture", "unit").u32("general.alignment", 32).u32("unit.block_count", 2);
  b.f32("unit.attention.layer_norm_rms_epsilon", 1e-5F).flag("unit.use_parallel_residual", true);
  b.array("tokenizer.ggml.tokens", 8, 3).string("string", "a").string("string", "").string("string", "bcd");
  b.array("unit.attention.head_count_kv", 4, 2).put<uint32_t>("value", 4).put<uint32_t>("value", 2);
  b.array("unit.nested", 9, 1).put<uint32_t>("array element type", 0).put<uint64_t>("array length", 1);
  b.put<uint8_t>("value", 7);
  b.entry<uint64_t>("unit.context_length", 10, 128);
  b.tensor("token_embd.weight", {4, 3}, 0, 0).tensor("blk.0.attn_q.weight", {32, 2}, 8, 64);
  b.tensor("odd.weight", {256}, 16, 160);
  b.data(160 + 66);
  return b;
}

}  // namespace llmhost::test
