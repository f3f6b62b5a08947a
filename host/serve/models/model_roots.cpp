#include "serve/models/model_roots.h"

#include <algorithm>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/log.h"
#include "serve/models/configuration.h"

namespace llmhost::serve {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGguf = ".gguf";
constexpr size_t kMaxModels = 10'000;

bool is_inside(const fs::path& path, const fs::path& root) {
  const auto [end, ignored] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end();
}

class Search {
 public:
  explicit Search(const fs::path& root) : root_(fs::canonical(root)) {}

  std::map<std::string, fs::path> run() {
    list(root_, "", true);
    return std::move(found_);
  }

 private:
  // A folder's sub-folders that are no models themselves are searched one level deep.
  void list(const fs::path& folder, const std::string& prefix, bool is_root) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
      const fs::path real = fs::canonical(entry.path(), error);
      if (error || !is_inside(real, root_) || found_.size() >= kMaxModels) continue;
      const std::string name = prefix + entry.path().filename().string();
      if (fs::is_regular_file(real, error))
        add_file(name, real);
      else if (fs::is_directory(real, error))
        add_folder(name, real, is_root);
    }
  }

  void add_folder(const std::string& name, const fs::path& folder, bool is_below_root) {
    std::error_code error;
    if (fs::exists(folder / "config.json", error))
      add(name, folder);
    else if (is_below_root)
      list(folder, name + "/", false);
  }

  // Of a split file the first part stands for all.
  void add_file(const std::string& name, const fs::path& file) {
    if (!name.ends_with(kGguf)) return;
    const std::string stem = name.substr(0, name.size() - kGguf.size());
    const size_t of = stem.rfind("-of-");
    const bool is_part = of != std::string::npos && of >= 6 && stem.size() == of + 9;
    if (is_part && stem.compare(of - 5, 5, "00001") != 0) return;
    add(is_part ? stem.substr(0, of - 6) : stem, file);
  }

  void add(const std::string& name, const fs::path& path) {
    if (name_fault(name).empty()) found_.emplace(name, path);
  }

  fs::path root_;
  std::map<std::string, fs::path> found_;
};

}  // namespace

std::map<std::string, fs::path> find_models(const fs::path& root) {
  try {
    return Search(root).run();
  } catch (const std::exception&) {
    spdlog::warn("pool: a folder of pool.roots cannot be read");
    return {};
  }
}

bool has_adapter(const std::vector<fs::path>& roots, std::string_view name) {
  if (!name_fault(name).empty()) return false;
  std::error_code error;
  return std::any_of(roots.begin(), roots.end(), [&](const fs::path& root) {
    return fs::exists(root / name / "adapter_config.json", error);
  });
}

}  // namespace llmhost::serve
