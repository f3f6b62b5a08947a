// The message that a call throws, or an empty text: for tests that check what a user is told.
#pragma once

#include <string>

#include "core/error.h"

namespace llmhost::test {

template <typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

}  // namespace llmhost::test
