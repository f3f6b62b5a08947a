#include "core/paths.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <optional>
#include <string>

namespace llmhost {
namespace {

// Sets (or, with null, removes) a variable until the end of the scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    if (value != nullptr)
      ::setenv(name, value, 1);
    else
      ::unsetenv(name);
  }
  ~ScopedVariable() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> old_;
};

}  // namespace

TEST_CASE("the folders follow the environment") {
  const ScopedVariable home("HOME", "/home/a");
  const ScopedVariable own("LLMHOST_CACHE", nullptr);
  const ScopedVariable cache("XDG_CACHE_HOME", nullptr);
  const ScopedVariable data("XDG_DATA_HOME", nullptr);
  const ScopedVariable config("XDG_CONFIG_HOME", nullptr);
  CHECK(cache_dir() == "/home/a/.cache/llmhost");
  CHECK(data_dir() == "/home/a/.local/share/llmhost");
  CHECK(config_dir() == "/home/a/.config/llmhost");
  {
    const ScopedVariable set("XDG_CACHE_HOME", "/var/c");
    CHECK(cache_dir() == "/var/c/llmhost");
    const ScopedVariable set_own("LLMHOST_CACHE", "/big");
    CHECK(cache_dir() == "/big");
  }
  const ScopedVariable relative("XDG_DATA_HOME", "relative");
  CHECK(data_dir() == "/home/a/.local/share/llmhost");
}

TEST_CASE("without HOME the user database says where home is") {
  const ScopedVariable home("HOME", nullptr);
  const ScopedVariable data("XDG_DATA_HOME", nullptr);
  CHECK(data_dir().is_absolute());
}

TEST_CASE("the program's own folder is the build's bin folder") {
  CHECK(executable_dir() == std::filesystem::canonical(std::filesystem::path(LLMHOST_BINARY_DIR) / "bin"));
}

}  // namespace llmhost
