// Counts calls of operator new in the binary that links count_allocations.cpp, in plugins too.
#pragma once

#include <cstdint>

namespace llmhost::test {

int64_t allocations_so_far();

}  // namespace llmhost::test
