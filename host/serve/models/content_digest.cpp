#include "serve/models/content_digest.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/sha256.h"

namespace llmhost::serve {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSampleBytes = 64 << 10;
constexpr uint64_t kSamples = 128;

void add_number(Sha256& sum, uint64_t number) {
  sum.add(std::as_bytes(std::span(&number, 1)));
}

// With its length, so that no two lists of texts look alike.
void add_text(Sha256& sum, std::string_view text) {
  add_number(sum, text.size());
  sum.add(text);
}

void add_file(Sha256& sum, const fs::path& path) {
  add_text(sum, path.filename().string());
  std::ifstream file(path, std::ios::binary);
  struct stat status {};
  if (!file || ::stat(path.c_str(), &status) != 0)
    throw_error(ErrorCode::kNotFound, "{}: {}", path.string(), std::generic_category().message(errno));
  const auto size = static_cast<uint64_t>(status.st_size);
  add_number(sum, size);
  const bool is_whole = size <= kWholeFile;
  if (!is_whole) {
    add_number(sum, static_cast<uint64_t>(status.st_mtim.tv_sec));
    add_number(sum, static_cast<uint64_t>(status.st_mtim.tv_nsec));
  }
  std::vector<char> buffer(kSampleBytes);
  const uint64_t step = is_whole ? kSampleBytes : (size - kSampleBytes) / (kSamples - 1);
  for (uint64_t offset = 0; offset < size; offset += step) {
    const uint64_t bytes = std::min(kSampleBytes, size - offset);
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(buffer.data(), static_cast<std::streamsize>(bytes));
    if (!file) throw_error(ErrorCode::kDataLoss, "{}: it became shorter while it was read", path.string());
    sum.add(std::string_view(buffer.data(), bytes));
  }
}

// Configuration, tokenizer and templates: every file of text beside the weights.
std::vector<fs::path> text_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const fs::path extension = entry.path().extension();
    const bool is_text = extension == ".json" || extension == ".jinja" || extension == ".model" ||
                         extension == ".txt" || extension == ".tiktoken";
    if (is_text && entry.is_regular_file(error)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::string content_digest(const model::Checkpoint& checkpoint, const std::string& chat_template) {
  Sha256 sum;
  add_text(sum, chat_template);
  if (checkpoint.gguf() == nullptr)
    for (const fs::path& file : text_files(checkpoint.folder())) add_file(sum, file);
  for (const fs::path& file : checkpoint.files()) add_file(sum, file);
  for (const model::CheckpointTensor& tensor : checkpoint.tensors()) {
    add_text(sum, tensor.name);
    add_text(sum, tensor.stored_type);
    add_number(sum, tensor.shape.size());
    for (const int64_t extent : tensor.shape) add_number(sum, static_cast<uint64_t>(extent));
  }
  return to_hex(sum.digest());
}

}  // namespace llmhost::serve
