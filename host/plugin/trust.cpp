#include "plugin/trust.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace llmhost::plugin {
namespace {

// Who is trusted besides this user and the administrator: nobody, or whoever may write to the program itself.
struct Trusted {
  explicit Trusted(const std::filesystem::path& program) {
    struct stat info {};
    if (program.empty() || ::stat(program.c_str(), &info) != 0) return;
    prefix = program.parent_path().parent_path();
    owner = info.st_uid;
    group = info.st_gid;
    mode = info.st_mode;
  }
  bool writer(const struct stat& info, mode_t bit) const {
    if ((info.st_mode & bit) == 0) return true;
    return (mode & bit) != 0 && (bit != S_IWGRP || info.st_gid == group);
  }

  std::filesystem::path prefix;  // what lies above may be written to by those who may replace the program
  uid_t owner = 0;
  gid_t group = 0;
  mode_t mode = 0;
};

// `depth` counts from the file (0) upwards.
std::string component_reason(const std::filesystem::path& component, int depth, const Trusted& trusted) {
  struct stat info {};
  if (::lstat(component.c_str(), &info) != 0)
    return fmt::format("cannot look at {}: {}", component.string(), std::strerror(errno));
  if (info.st_uid != 0 && info.st_uid != ::geteuid() && info.st_uid != trusted.owner)
    return fmt::format("{} belongs to another user (uid {})", component.string(), info.st_uid);
  if (S_ISLNK(info.st_mode)) return {};
  const bool sticky_above = depth >= 2 && S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) != 0;
  const bool everyone = !trusted.writer(info, S_IWOTH);
  if (sticky_above || (!everyone && trusted.writer(info, S_IWGRP))) return {};
  return fmt::format("{} is writable by {}; use chmod go-w, or --allow-insecure-plugins", component.string(),
                     everyone ? "everyone" : "its group");
}

std::string chain_reason(std::filesystem::path path, const Trusted& trusted) {
  for (int depth = 0;; ++depth) {
    if (!trusted.prefix.empty() && path == trusted.prefix) return {};
    if (std::string reason = component_reason(path, depth, trusted); !reason.empty()) return reason;
    if (!path.has_relative_path()) return {};
    path = path.parent_path();
  }
}

}  // namespace

std::string insecure_reason(const std::filesystem::path& path, const std::filesystem::path& program) {
  const Trusted trusted(program);
  const std::filesystem::path lexical = path.lexically_normal();
  if (std::string reason = chain_reason(lexical, trusted); !reason.empty()) return reason;
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  if (error) return fmt::format("cannot resolve {}: {}", path.string(), error.message());
  return real == lexical ? std::string() : chain_reason(real, trusted);
}

}  // namespace llmhost::plugin
