// Memory of packed weights: one after the other in large chunks, so that a step, which reads them in about
// the order in which they were loaded, reads ahead across their borders, and so that the system may use huge
// pages.
#pragma once

#include <cstdint>
#include <memory>

namespace llmhost::cpu {

class WeightMemory {
 public:
  struct Piece {
    uint8_t* data = nullptr;
    std::shared_ptr<const void> owner;  // the chunk lives as long as one of its pieces does
  };

  // Zeroed, aligned to 64 bytes. Throws llmh::Error when the system has no memory. [control]
  Piece allocate(uint64_t bytes);

 private:
  std::shared_ptr<uint8_t> chunk_;
  uint64_t used_ = 0;
  uint64_t size_ = 0;
};

}  // namespace llmhost::cpu
