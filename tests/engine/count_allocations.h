// Counts calls of operator new in the binary that links count_allocations.cpp, in plugins too.
#pragma once

#include <cstdint>

namespace llmhost::test {

int64_t allocations_so_far();

// The checker of thread tags keeps books, so a build with it allocates in every call.
#ifdef LLMHOST_CHECK_THREADS
inline constexpr bool kThreadTagsChecked = true;
#else
inline constexpr bool kThreadTagsChecked = false;
#endif

}  // namespace llmhost::test
