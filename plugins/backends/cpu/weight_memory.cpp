#include "weight_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "instance.h"
#include "llmhost/plugin.hpp"

namespace llmhost::cpu {
namespace {

constexpr uint64_t kChunk = uint64_t{256} << 20;  // address space: what is not used costs nothing
constexpr uint64_t kHugePage = uint64_t{2} << 20;

// Starts at a huge page.
std::shared_ptr<uint8_t> map_chunk(uint64_t bytes) {
  llmh_buffer pages = allocate_pages(bytes + kHugePage);
  uint8_t* start = pages.data + (kHugePage - reinterpret_cast<uintptr_t>(pages.data) % kHugePage) % kHugePage;
  return {start, [pages](uint8_t*) mutable { free_pages(pages); }};
}

}  // namespace

WeightMemory::Piece WeightMemory::allocate(uint64_t bytes) {
  constexpr uint64_t kMost = uint64_t{1} << 60;
  if (bytes > kMost)
    throw llmh::Error(LLMH_RESOURCE_EXHAUSTED,
                      "[cpu] no memory for a packed weight of " + std::to_string(bytes) + " bytes");
  const uint64_t rounded = (bytes + 63) / 64 * 64;
  if (chunk_ == nullptr || rounded > size_ - used_) {
    size_ = std::max(kChunk, rounded);
    chunk_ = map_chunk(size_);
    used_ = 0;
  }
  Piece piece{chunk_.get() + used_, chunk_};
  used_ += rounded;
  return piece;
}

}  // namespace llmhost::cpu
