// Counts what this test binary allocates through operator new (allocation_count.cpp replaces it).
#pragma once

#include <cstddef>

namespace llmhost::test {

// The most bytes that were allocated at one time since the last reset, beyond what was allocated then.
size_t peak_allocated();
void reset_peak_allocated();

}  // namespace llmhost::test
