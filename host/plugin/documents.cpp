#include "plugin/documents.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/paths.h"
#include "core/registry_files.h"
#include "llmhost/arch.h"
#include "plugin/path_list.h"
#include "plugin/plugin.h"
#include "plugin/status.h"

namespace llmhost::plugin {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxBytes = size_t{1} << 20;
// Far more than anybody writes; a folder of something else stops here.
constexpr size_t kMaxFiles = 10'000;

// A subject whose paths the environment may name.
constexpr std::pair<const char*, const char*> kVariables[] = {{"archs", "LLMHOST_ARCH_PATH"}};

std::vector<fs::path> yaml_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".yaml") files.push_back(it->path());
    if (files.size() > kMaxFiles) throw_invalid("{}: more than {} files", folder.string(), kMaxFiles);
  }
  if (error) throw_invalid("{}: cannot list the folder: {}", folder.string(), error.message());
  std::sort(files.begin(), files.end());
  return files;
}

Document read_document(const fs::path& file) {
  return {file.stem().string(), file.string(), read_file(file, kMaxBytes)};
}

void read_entry(const std::string& entry, const std::string& origin, std::vector<Document>& documents) {
  try {
    const fs::path path = fs::absolute(entry).lexically_normal();
    if (!fs::is_directory(path)) {
      documents.push_back(read_document(path));
      return;
    }
    for (const fs::path& file : yaml_files(path)) documents.push_back(read_document(file));
  } catch (const std::exception& e) {
    throw_invalid("{}: {}", origin, e.what());
  }
}

// What is wrong in a folder that nobody named does not stop a run.
void read_folder(const fs::path& folder, std::vector<Document>& documents) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return;
  try {
    for (const fs::path& file : yaml_files(folder)) {
      try {
        documents.push_back(read_document(file));
      } catch (const Error& e) {
        spdlog::warn("{}; the file is left out", e.what());
      }
    }
  } catch (const Error& e) {
    spdlog::warn("{}; the folder is left out", e.what());
  }
}

// The documents that plugins get, and those that they may have got before. Never destroyed: a plugin may ask
// while the process ends.
struct Offered {
  std::mutex mutex;
  std::vector<std::unique_ptr<Documents>> all;
};

Offered& offered() {
  static auto* list = new Offered;
  return *list;
}

std::string_view view(llmh_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}

llmh_str to_str(const std::string& text) {
  return {text.data(), text.size()};
}

const std::vector<Document>& current(llmh_str subject) {
  const std::lock_guard lock(offered().mutex);
  return offered().all.back()->of(view(subject));
}

int64_t count_documents(const llmh_host*, llmh_str subject) noexcept {
  try {
    return static_cast<int64_t>(current(subject).size());
  } catch (...) {
    return 0;  // memory is short: as if there were none
  }
}

llmh_status* get_document(const llmh_host*, llmh_str subject, int64_t index, llmh_document* out) noexcept {
  return guard([&] {
    const std::vector<Document>& documents = current(subject);
    if (index < 0 || index >= static_cast<int64_t>(documents.size()))
      throw_error(ErrorCode::kOutOfRange, "no document {} of '{}', there are {}", index, view(subject),
                  documents.size());
    const Document& document = documents[static_cast<size_t>(index)];
    out->name = to_str(document.name);
    out->origin = to_str(document.origin);
    out->text = to_str(document.text);
  });
}

constexpr llmh_documents kTable = {sizeof(llmh_documents), count_documents, get_document};

}  // namespace

Documents::Documents(DocumentOptions options) : options_(std::move(options)) {
  for (const auto& [subject, entries] : options_.paths)
    for (const std::string& entry : entries)
      read_entry(entry, fmt::format("--{}-path", subject.substr(0, subject.size() - 1)), named_[subject]);
  if (!options_.use_default_path) return;
  for (const auto& [subject, variable] : kVariables)
    if (const char* list = std::getenv(variable))
      for (const std::string& entry : split_path_list(list))
        read_entry(entry, fmt::format("${}", variable), named_[subject]);
}

const std::vector<Document>& Documents::of(std::string_view subject) {
  const std::lock_guard lock(mutex_);
  const auto known = subjects_.find(subject);
  if (known != subjects_.end()) return known->second;
  return subjects_.emplace(subject, collect(subject)).first->second;
}

std::vector<Document> Documents::collect(std::string_view subject) const {
  std::vector<Document> documents;
  if (const auto named = named_.find(subject); named != named_.end()) documents = named->second;
  if (options_.use_default_path) {
    read_folder(data_dir() / subject, documents);
    read_folder(executable_dir().parent_path() / "share" / "llmhost" / subject, documents);
  }
  for (const RegistryFile& file : registry_files())
    if (file.subject == subject)
      documents.push_back({std::string(file.name),
                           fmt::format("built in: registry/{}/{}.yaml", subject, file.name),
                           std::string(file.text)});
  return documents;
}

void offer_documents(const DocumentOptions& options) {
  auto documents = std::make_unique<Documents>(options);
  const std::lock_guard lock(offered().mutex);
  offered().all.push_back(std::move(documents));
  register_host_extension(LLMH_DOCUMENTS_INTERFACE, &kTable);
}

}  // namespace llmhost::plugin
