// Files that appear whole or not at all.
#include "core/new_file.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "support/temp_dir.h"

namespace {

namespace fs = std::filesystem;
using llmhost::NewFile;
using llmhost::test::TempDir;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void write(NewFile& file, const std::string& text) {
  file.write(std::as_bytes(std::span(text)));
}

}  // namespace

TEST_CASE("a new file is there when it is committed, and replaces what was there") {
  const TempDir folder;
  const fs::path path = folder.path() / "file";
  for (const std::string text : {"first", "second, longer", "3"}) {
    NewFile file(path);
    write(file, text);
    CHECK((!fs::exists(path) || llmhost::read_file(path) != text));
    file.commit();
    CHECK(llmhost::read_file(path) == text);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
  }
}

TEST_CASE("a file that is not committed leaves nothing, also when the process is killed") {
  const TempDir folder;
  const fs::path path = folder.path() / "file";
  {
    NewFile file(path);
    write(file, "lost");
  }
  CHECK(names_in(folder.path()).empty());
  const pid_t child = ::fork();
  if (child == 0) {
    NewFile file(path);
    write(file, "lost");
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("a folder that is not there is named") {
  CHECK_THROWS_WITH_AS(NewFile("/nowhere/at/all/file"), doctest::Contains("/nowhere/at/all/file"),
                       llmhost::Error);
}
