#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "model/checkpoint_text.h"
#include "model/safetensors.h"

namespace llmhost::model {
namespace {

constexpr size_t kHeaderAlignment = 8;

[[noreturn]] void throw_errno(const std::string& path, const char* what) {
  const int saved = errno;
  const bool full = saved == ENOSPC || saved == EDQUOT;
  throw_error(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnknown, "{}: cannot {}: {}", path, what,
              std::strerror(saved));
}

void write_all(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_errno(path, "write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

// A rename is durable once the folder is synced; a file system that cannot do that is no reason to fail.
void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

struct SafetensorsWriter::State {
  std::filesystem::path path;
  std::string name;       // of the path, for errors
  std::string temporary;  // empty once renamed
  int fd = -1;
  Json metadata = Json::object();
  std::string entries;  // ,"name":{...} of each tensor
  std::set<std::string> names;
  uint64_t declared = 0;
  uint64_t written = 0;
  bool header_written = false;

  ~State() {
    if (fd >= 0) ::close(fd);
    if (!temporary.empty()) ::unlink(temporary.c_str());
  }
  void write_header();
};

void SafetensorsWriter::State::write_header() {
  std::string text = "{";
  if (!metadata.empty()) text += ",\"__metadata__\":" + metadata.dump();
  text += entries + '}';
  if (text[1] == ',') text.erase(1, 1);
  text.append((kHeaderAlignment - text.size() % kHeaderAlignment) % kHeaderAlignment, ' ');
  const uint64_t length = text.size();
  write_all(fd, std::as_bytes(std::span(&length, 1)), name);
  write_all(fd, std::as_bytes(std::span(text)), name);
  header_written = true;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path) : state_(std::make_unique<State>()) {
  state_->path = path;
  state_->name = path.string();
  std::string temporary = path.string() + ".XXXXXX";
  state_->fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (state_->fd < 0) throw_errno(state_->name, "create a temporary file beside");
  state_->temporary = temporary;
}

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
  write_all(state.fd, bytes, state.name);
  state.written += bytes.size();
}

void SafetensorsWriter::finish() {
  State& state = *state_;
  if (!state.header_written) state.write_header();
  if (state.written != state.declared)
    throw_error(ErrorCode::kFailedPrecondition, "{}: {} of the declared {} bytes were written", state.name,
                state.written, state.declared);
  if (::fchmod(state.fd, 0644) != 0 || ::fsync(state.fd) != 0) throw_errno(state.name, "sync");
  if (::rename(state.temporary.c_str(), state.path.c_str()) != 0) throw_errno(state.name, "replace");
  state.temporary.clear();
  sync_folder(state.path.parent_path());
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
