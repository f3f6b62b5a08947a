#include "plugin/trust.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace llmhost::plugin {
namespace {

// `depth` counts from the file (0) upwards.
std::string component_reason(const std::filesystem::path& component, int depth) {
  struct stat info {};
  if (::lstat(component.c_str(), &info) != 0)
    return fmt::format("cannot look at {}: {}", component.string(), std::strerror(errno));
  if (info.st_uid != 0 && info.st_uid != ::geteuid())
    return fmt::format("{} belongs to another user (uid {})", component.string(), info.st_uid);
  if (S_ISLNK(info.st_mode)) return {};
  const bool sticky_above = depth >= 2 && S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) != 0;
  if (sticky_above || (info.st_mode & (S_IWGRP | S_IWOTH)) == 0) return {};
  return fmt::format("{} is writable by {}; use chmod go-w, or --allow-insecure-plugins", component.string(),
                     (info.st_mode & S_IWOTH) != 0 ? "everyone" : "its group");
}

std::string chain_reason(std::filesystem::path path) {
  for (int depth = 0;; ++depth) {
    if (std::string reason = component_reason(path, depth); !reason.empty()) return reason;
    if (!path.has_relative_path()) return {};
    path = path.parent_path();
  }
}

}  // namespace

std::string insecure_reason(const std::filesystem::path& path) {
  const std::filesystem::path lexical = path.lexically_normal();
  if (std::string reason = chain_reason(lexical); !reason.empty()) return reason;
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  if (error) return fmt::format("cannot resolve {}: {}", path.string(), error.message());
  return real == lexical ? std::string() : chain_reason(real);
}

}  // namespace llmhost::plugin
