#include <algorithm>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "core/new_file.h"
#include "model/checkpoint_text.h"
#include "model/safetensors.h"

namespace llmhost::model {
namespace {

constexpr size_t kHeaderAlignment = 8;

}  // namespace

struct SafetensorsWriter::State {
  explicit State(const std::filesystem::path& path) : file(path), name(file.name()) {}

  NewFile file;
  const std::string& name;
  Json metadata = Json::object();
  std::string entries;  // ,"name":{...} of each tensor
  std::set<std::string> names;
  uint64_t declared = 0;
  uint64_t written = 0;
  bool header_written = false;

  void write_header();
};

void SafetensorsWriter::State::write_header() {
  std::string text = "{";
  if (!metadata.empty()) text += ",\"__metadata__\":" + metadata.dump();
  text += entries + '}';
  if (text[1] == ',') text.erase(1, 1);
  text.append((kHeaderAlignment - text.size() % kHeaderAlignment) % kHeaderAlignment, ' ');
  const uint64_t length = text.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(text)));
  header_written = true;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path)
    : state_(std::make_unique<State>(path)) {}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::set_metadata(const std::string& key, const std::string& value) {
  if (state_->header_written)
    throw_error(ErrorCode::kFailedPrecondition, "{}: metadata after the first data", state_->name);
  if (!is_valid_utf8(key) || !is_valid_utf8(value))
    throw_invalid("{}: metadata '{}' is not UTF-8", state_->name, printable(key));
  state_->metadata[key] = value;
}

void SafetensorsWriter::declare(const std::string& name, llmh_dtype dtype, std::span<const int64_t> shape) {
  State& state = *state_;
  if (state.header_written)
    throw_error(ErrorCode::kFailedPrecondition, "{}: tensor '{}' declared after the first data", state.name,
                printable(name));
  if (name == "__metadata__" || !is_valid_utf8(name) || !state.names.insert(name).second)
    throw_invalid("{}: tensor name '{}' is reserved, not UTF-8 or used twice", state.name, printable(name));
  const std::string_view dtype_name = safetensors_dtype_name(dtype);
  if (dtype_name.empty())
    throw_invalid("{}: tensor '{}': safetensors cannot hold element type {}", state.name, printable(name),
                  dtype);
  uint64_t bytes = llmh_dtype_layout_of(dtype).block_bytes;
  for (const int64_t dim : shape)
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes))
      throw_invalid("{}: tensor '{}': shape is negative or too large", state.name, printable(name));
  uint64_t end = 0;
  if (__builtin_add_overflow(state.declared, bytes, &end))
    throw_invalid("{}: tensor '{}': the file would be too large", state.name, printable(name));
  const Json entry = {{"dtype", dtype_name},
                      {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                      {"data_offsets", {state.declared, end}}};
  state.entries += ',' + Json(name).dump() + ':' + entry.dump();
  state.declared = end;
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  State& state = *state_;
  if (!state.header_written) state.write_header();
  if (bytes.size() > state.declared - state.written)
    throw_error(ErrorCode::kFailedPrecondition, "{}: more data than the declared {} bytes", state.name,
                state.declared);
  state.file.write(bytes);
  state.written += bytes.size();
}

void SafetensorsWriter::finish() {
  State& state = *state_;
  if (!state.header_written) state.write_header();
  if (state.written != state.declared)
    throw_error(ErrorCode::kFailedPrecondition, "{}: {} of the declared {} bytes were written", state.name,
                state.written, state.declared);
  state.file.commit();
}

void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata) {
  std::stable_sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return llmh_dtype_layout_of(a.dtype).block_bytes > llmh_dtype_layout_of(b.dtype).block_bytes;
  });
  SafetensorsWriter writer(path);
  for (const auto& [key, value] : metadata) writer.set_metadata(key, value);
  for (const SafetensorsEntry& entry : entries) {
    writer.declare(entry.name, entry.dtype, entry.shape);
    uint64_t bytes = llmh_dtype_layout_of(entry.dtype).block_bytes;
    for (const int64_t dim : entry.shape) bytes *= static_cast<uint64_t>(dim);
    if (bytes != entry.bytes.size())
      throw_invalid("{}: tensor '{}' has {} bytes, its shape needs {}", path.string(), printable(entry.name),
                    entry.bytes.size(), bytes);
  }
  for (const SafetensorsEntry& entry : entries) writer.write(entry.bytes);
  writer.finish();
}

}  // namespace llmhost::model
