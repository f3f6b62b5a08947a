#include "core/paths.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <system_error>

#include "core/error.h"

namespace llmhost {
namespace {

namespace fs = std::filesystem;

// An absolute path from the environment, or an empty one.
fs::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return {};
  fs::path path = value;
  return path.is_absolute() ? path : fs::path();
}

fs::path home_dir() {
  fs::path home = from_environment("HOME");
  if (!home.empty()) return home;
  const passwd* user = ::getpwuid(::getuid());
  if (user != nullptr && user->pw_dir != nullptr && user->pw_dir[0] == '/') return user->pw_dir;
  throw_error(ErrorCode::kFailedPrecondition,
              "no home folder: set HOME or LLMHOST_CACHE to an absolute path");
}

fs::path base_dir(const char* variable, const char* below_home) {
  const fs::path base = from_environment(variable);
  return (base.empty() ? home_dir() / below_home : base) / "llmhost";
}

}  // namespace

fs::path cache_dir() {
  fs::path own = from_environment("LLMHOST_CACHE");
  return own.empty() ? base_dir("XDG_CACHE_HOME", ".cache") : own;
}

fs::path data_dir() {
  return base_dir("XDG_DATA_HOME", ".local/share");
}

fs::path config_dir() {
  return base_dir("XDG_CONFIG_HOME", ".config");
}

fs::path executable_path() {
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) throw_error(ErrorCode::kUnavailable, "/proc/self/exe: {}", error.message());
  return program;
}

fs::path executable_dir() {
  return executable_path().parent_path();
}

}  // namespace llmhost
