#include "serve/tuning/uploaded_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <random>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/names.h"

namespace llmhost::serve {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFacts = "file.json";
constexpr size_t kMaxName = 200;

int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Readers of data sets go by the ending.
std::string content_name(std::string_view filename) {
  constexpr std::array<std::string_view, 6> kEndings = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"};
  std::string name(filename);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view ending : kEndings)
    if (name.ends_with(ending)) return "content" + std::string(ending);
  throw_invalid("the file's name must end in {}: it says how the data is read", fmt::join(kEndings, ", "));
}

}  // namespace

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device source;
  std::uniform_int_distribution<size_t> letter(0, kLetters.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kLetters[letter(source)];
  return id;
}

UploadedFiles::UploadedFiles(fs::path folder, uint64_t limit) : folder_(std::move(folder)), limit_(limit) {
  fs::create_directories(folder_);
  for (const auto& entry : fs::directory_iterator(folder_))  // uploads that were cut off
    if (entry.is_directory() && !fs::exists(entry.path() / kFacts)) fs::remove_all(entry.path());
}

UploadedFile UploadedFiles::add(std::string_view filename, std::string_view purpose, std::string_view content,
                                uint64_t owner) {
  if (filename.empty() || filename.size() > kMaxName)
    throw_invalid("the file's name must have 1 to {} bytes", kMaxName);
  const std::scoped_lock lock(mutex_);
  uint64_t held = content.size();
  for (const UploadedFile& file : all()) held += file.bytes;
  if (held > limit_)
    throw_error(ErrorCode::kResourceExhausted,
                "all files together would have {} bytes, at most {} are kept; delete some", held, limit_);
  UploadedFile file;
  file.id = random_id("file-");
  file.filename = filename;
  file.purpose = purpose;
  file.bytes = content.size();
  file.created = now_s();
  file.owner = owner;
  const fs::path folder = folder_ / file.id;
  file.path = folder / content_name(filename);
  const OrderedJson facts = {{"filename", file.filename}, {"purpose", file.purpose},
                             {"bytes", file.bytes},       {"created", file.created},
                             {"owner", file.owner},       {"content", file.path.filename().string()}};
  try {
    fs::create_directory(folder);
    write_file_atomically(file.path, content);
    // Last: a file without its facts is none.
    write_file_atomically(folder / kFacts, facts.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    throw;
  }
  return file;
}

std::optional<UploadedFile> UploadedFiles::read(const fs::path& folder) const {
  if (!fs::exists(folder / kFacts)) return std::nullopt;
  const Json facts = read_json_file(folder / kFacts);
  UploadedFile file;
  file.id = folder.filename().string();
  file.filename = facts.at("filename").get<std::string>();
  file.purpose = facts.at("purpose").get<std::string>();
  file.bytes = facts.at("bytes").get<uint64_t>();
  file.created = facts.at("created").get<int64_t>();
  file.owner = facts.at("owner").get<uint64_t>();
  file.path = folder / facts.at("content").get<std::string>();
  return file;
}

std::vector<UploadedFile> UploadedFiles::all() const {
  std::vector<UploadedFile> files;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (auto file = read(entry.path())) files.push_back(std::move(*file));
  return files;
}

std::vector<UploadedFile> UploadedFiles::list(uint64_t owner) const {
  const std::scoped_lock lock(mutex_);
  std::vector<UploadedFile> files = all();
  std::erase_if(files, [owner](const UploadedFile& file) { return file.owner != owner; });
  std::sort(files.begin(), files.end(), [](const UploadedFile& a, const UploadedFile& b) {
    return std::tie(b.created, b.id) < std::tie(a.created, a.id);
  });
  return files;
}

UploadedFile UploadedFiles::get(std::string_view id, uint64_t owner) const {
  const std::scoped_lock lock(mutex_);
  const bool is_name = id.starts_with("file-") && std::all_of(id.begin(), id.end(), [](unsigned char c) {
                         return std::isalnum(c) != 0 || c == '-';
                       });
  std::optional<UploadedFile> file = is_name ? read(folder_ / id) : std::nullopt;
  if (!file || file->owner != owner) throw_error(ErrorCode::kNotFound, "there is no file {}", quote_name(id));
  return std::move(*file);
}

void UploadedFiles::remove(std::string_view id, uint64_t owner) {
  const UploadedFile file = get(id, owner);
  const std::scoped_lock lock(mutex_);
  fs::remove(folder_ / file.id / kFacts);  // first: what is half removed is no file
  fs::remove_all(folder_ / file.id);
}

}  // namespace llmhost::serve
