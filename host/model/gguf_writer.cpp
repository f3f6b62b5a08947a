#include "model/gguf_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/new_file.h"
#include "model/checkpoint_text.h"
#include "model/layout_steps.h"

namespace llmhost::model {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kVersion = 3;
constexpr uint32_t kTypeLimit = 64;  // no file's element type has a larger number
constexpr std::array<std::byte, kAlignment> kZeros{};

uint64_t aligned(uint64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

template <typename T>
void append(std::string& out, T value) {
  const size_t at = out.size();
  out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

void append_text(std::string& out, std::string_view text) {
  append(out, static_cast<uint64_t>(text.size()));
  out += text;
}

}  // namespace

std::optional<uint32_t> ggml_type_of(llmh_dtype dtype) {
  if (dtype == LLMH_DTYPE_INVALID) return std::nullopt;
  for (uint32_t type = 0; type < kTypeLimit; ++type)
    if (gguf_dtype(type) == dtype) return type;
  return std::nullopt;
}

struct GgufWriter::State {
  explicit State(const std::filesystem::path& path) : file(path) {}

  struct Tensor {
    uint64_t begin = 0;  // in the data section
    uint64_t size = 0;
  };

  NewFile file;
  std::string metadata;
  std::string infos;
  std::set<std::string, std::less<>> keys, names;
  std::vector<Tensor> tensors;
  uint64_t declared = 0;  // of the data section, each tensor aligned
  uint64_t written = 0;   // of the data section
  size_t current = 0;     // tensor that is being written
  bool header_written = false;

  void add_key(std::string_view key, GgufType type);
  void add_array(std::string_view key, GgufType type, size_t count);
  void write_header();
  void skip_full_tensors();
};

void GgufWriter::State::add_key(std::string_view key, GgufType type) {
  if (header_written)
    throw_error(ErrorCode::kFailedPrecondition, "{}: metadata after the first data", file.name());
  if (key.empty() || !is_valid_utf8(key) || !keys.emplace(key).second)
    throw_invalid("{}: metadata key '{}' is empty, not UTF-8 or used twice", file.name(), printable(key));
  append_text(metadata, key);
  append(metadata, static_cast<uint32_t>(type));
}

void GgufWriter::State::add_array(std::string_view key, GgufType type, size_t count) {
  add_key(key, GgufType::kArray);
  append(metadata, static_cast<uint32_t>(type));
  append(metadata, static_cast<uint64_t>(count));
}

void GgufWriter::State::write_header() {
  std::string head = "GGUF";
  append(head, kVersion);
  append(head, static_cast<uint64_t>(tensors.size()));
  append(head, static_cast<uint64_t>(keys.size()));
  for (const std::string* part : {&head, &metadata, &infos}) file.write(std::as_bytes(std::span(*part)));
  const uint64_t size = head.size() + metadata.size() + infos.size();
  file.write(std::span(kZeros).first(aligned(size) - size));
  header_written = true;
  skip_full_tensors();
}

// Pads what is whole, so that the next byte is one of a tensor.
void GgufWriter::State::skip_full_tensors() {
  while (current < tensors.size() && written == tensors[current].begin + tensors[current].size) {
    const uint64_t padded = aligned(written);
    file.write(std::span(kZeros).first(padded - written));
    written = padded;
    ++current;
  }
}

GgufWriter::GgufWriter(const std::filesystem::path& path) : state_(std::make_unique<State>(path)) {}
GgufWriter::~GgufWriter() = default;

void GgufWriter::set(std::string_view key, std::string_view value) {
  state_->add_key(key, GgufType::kString);
  append_text(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, bool value) {
  state_->add_key(key, GgufType::kBool);
  append(state_->metadata, static_cast<uint8_t>(value ? 1 : 0));
}
void GgufWriter::set(std::string_view key, uint32_t value) {
  state_->add_key(key, GgufType::kU32);
  append(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, uint64_t value) {
  state_->add_key(key, GgufType::kU64);
  append(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, int32_t value) {
  state_->add_key(key, GgufType::kI32);
  append(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, float value) {
  state_->add_key(key, GgufType::kF32);
  append(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, std::span<const std::string> values) {
  state_->add_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) append_text(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, std::span<const int32_t> values) {
  state_->add_array(key, GgufType::kI32, values.size());
  for (const int32_t value : values) append(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, std::span<const float> values) {
  state_->add_array(key, GgufType::kF32, values.size());
  for (const float value : values) append(state_->metadata, value);
}
void GgufWriter::set(std::string_view key, const std::vector<bool>& values) {
  state_->add_array(key, GgufType::kBool, values.size());
  for (const bool value : values) append(state_->metadata, static_cast<uint8_t>(value ? 1 : 0));
}

void GgufWriter::set_bytes(std::string_view key, std::span<const std::byte> values) {
  state_->add_array(key, GgufType::kU8, values.size());
  state_->metadata.append(reinterpret_cast<const char*>(values.data()), values.size());
}

void GgufWriter::copy(const GgufValue& value) {
  const bool is_array = value.type() == GgufType::kArray;
  state_->add_key(value.key(), value.type());
  if (is_array) {
    append(state_->metadata, static_cast<uint32_t>(value.raw().element_type()));
    append(state_->metadata, static_cast<uint64_t>(value.raw().size()));
  }
  const std::span<const std::byte> bytes = value.raw().raw();
  state_->metadata.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void GgufWriter::declare(std::string_view name, llmh_dtype dtype, std::span<const int64_t> shape) {
  State& state = *state_;
  const auto type = ggml_type_of(dtype);
  const bool is_sane = !shape.empty() && shape.size() <= 4 &&
                       std::all_of(shape.begin(), shape.end(), [](int64_t dim) { return dim > 0; });
  if (state.header_written || !type || !is_sane)
    throw_invalid("{}: tensor '{}' has a type or shape that the file cannot hold", state.file.name(),
                  printable(name));
  if (name.empty() || name.size() > 63 || !state.names.emplace(name).second)
    throw_invalid("{}: tensor name '{}' is used twice, empty or longer than 63 bytes", state.file.name(),
                  printable(name));
  if (shape.back() % llmh_dtype_layout_of(dtype).block_elements != 0)
    throw_invalid("{}: rows of {} elements of tensor '{}' are not whole {} blocks", state.file.name(),
                  shape.back(), printable(name), llmh_dtype_layout_of(dtype).name);
  append_text(state.infos, name);
  append(state.infos, static_cast<uint32_t>(shape.size()));
  for (size_t i = shape.size(); i > 0; --i) append(state.infos, static_cast<uint64_t>(shape[i - 1]));
  append(state.infos, *type);
  append(state.infos, state.declared);
  const uint64_t size = byte_count(dtype, shape);
  state.tensors.push_back({state.declared, size});
  state.declared += aligned(size);
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  State& state = *state_;
  if (!state.header_written) state.write_header();
  while (!bytes.empty()) {
    if (state.current == state.tensors.size())
      throw_error(ErrorCode::kFailedPrecondition, "{}: more data than was declared", state.file.name());
    const State::Tensor& tensor = state.tensors[state.current];
    const auto part =
        bytes.first(std::min<uint64_t>(bytes.size(), tensor.begin + tensor.size - state.written));
    state.file.write(part);
    state.written += part.size();
    bytes = bytes.subspan(part.size());
    state.skip_full_tensors();
  }
}

void GgufWriter::finish() {
  State& state = *state_;
  if (!state.header_written) state.write_header();
  if (state.current != state.tensors.size())
    throw_error(ErrorCode::kFailedPrecondition, "{}: {} of {} tensors were written", state.file.name(),
                state.current, state.tensors.size());
  state.file.commit();
}

}  // namespace llmhost::model
