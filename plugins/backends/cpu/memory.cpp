#include <sys/mman.h>

#include <string>

#include "instance.h"
#include "llmhost/plugin.hpp"

namespace llmhost::cpu {

llmh_buffer allocate_pages(uint64_t bytes) {
  const uint64_t size = bytes == 0 ? 1 : bytes;
  void* data =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED)
    throw llmh::Error(LLMH_RESOURCE_EXHAUSTED, "[cpu] no memory for a buffer of " + std::to_string(bytes) +
                                                   " bytes; lower the context or batch");
  if (size >= (uint64_t{4} << 20))
    madvise(data, size, MADV_HUGEPAGE);  // fewer page faults; failure costs nothing
  return {static_cast<uint8_t*>(data), size};
}

void free_pages(llmh_buffer& buffer) {
  if (buffer.data != nullptr) munmap(buffer.data, buffer.bytes);
  buffer = {};
}

}  // namespace llmhost::cpu
