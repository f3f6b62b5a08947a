// Where the tests' data lies in the source tree.
#pragma once

#include <filesystem>

namespace llmhost::test {

inline std::filesystem::path data(const std::filesystem::path& relative) {
  return std::filesystem::path(LLMHOST_TEST_DATA) / relative;
}

}  // namespace llmhost::test
