// What limits of time and memory are multiplied with: sanitizers make a program slower and keep freed memory.
#pragma once

namespace llmhost::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSanitizerFactor = 20;
#else
constexpr int kSanitizerFactor = 1;
#endif

}  // namespace llmhost::test
