// A folder with an adapter's files, reached safely: below a root nothing leads out, neither ".." nor a
// symbolic link. Errors name the file, never the place. All const functions are [thread-safe].
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::engine {

inline constexpr const char* kAdapterConfigFile = "adapter_config.json";
inline constexpr const char* kAdapterTensorFile = "adapter_model.safetensors";

// What tells whether files changed without reading them.
struct AdapterSignature {
  struct File {
    int64_t modified_ns = 0;
    uint64_t bytes = 0;
    uint64_t inode = 0;
    bool operator==(const File&) const = default;
  };
  File config;
  File tensors;
  bool operator==(const AdapterSignature&) const = default;
};

class AdapterFolder {
 public:
  // A folder that the caller trusts: links in it are followed.
  explicit AdapterFolder(std::filesystem::path folder) : root_(std::move(folder)) {}
  // `relative` below `root`.
  AdapterFolder(std::filesystem::path root, std::filesystem::path relative)
      : root_(std::move(root)), relative_(std::move(relative)), is_confined_(true) {}

  bool exists() const;
  bool has(const char* file) const;  // as a plain file
  std::string read(const char* file, uint64_t max_bytes) const;
  // A file that is missing has none: reading the folder says what is wrong with it.
  AdapterSignature signature() const;

 private:
  int open(const std::filesystem::path& relative, int flags) const;  // -1: errno

  std::filesystem::path root_;
  std::filesystem::path relative_;
  bool is_confined_ = false;
};

// A name that stands for a folder: letters, digits and "._-+@=,", not beginning with a dot; throws
// kInvalidArgument.
void check_adapter_name(std::string_view name);

// The folder of a name, or of an absolute path below a root, in the first root that has it. Throws kNotFound,
// kPermissionDenied for a path outside the roots.
AdapterFolder find_adapter(const std::vector<std::filesystem::path>& roots, const std::string& name);

// One name for what may be named several ways: the name of a folder directly below the root that find_adapter
// takes it from, else the path as it is.
std::string adapter_key(const std::vector<std::filesystem::path>& roots, const std::string& name);

// The names of the folders directly below the roots that hold an adapter, sorted, at most `limit`.
std::vector<std::string> list_adapters(const std::vector<std::filesystem::path>& roots, size_t limit);

}  // namespace llmhost::engine
