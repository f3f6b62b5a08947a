// What the host holds of this backend: an opened device, its buffers and its weights.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "llmhost/backend.h"

struct llmh_instance {
  llmhost::cpu::Kernels kernels;
  const llmh_thread_pool* pool = nullptr;  // null: everything runs on the caller
  int32_t n_threads = 1;
};

// Zeroed pages straight from the system: what is never touched costs nothing.
struct llmh_buffer {
  uint8_t* data = nullptr;
  uint64_t bytes = 0;
};

struct llmh_weight {
  llmh_dtype dtype = LLMH_DTYPE_INVALID;
  int32_t rank = 0;
  int64_t shape[LLMH_MAX_RANK] = {};
  const uint8_t* data = nullptr;  // as stored, any alignment; the host's, or `copy`
  llmh_buffer copy;
};

namespace llmhost::cpu {

// The zeroed allocation; throws llmh::Error when the system has no memory. 0 bytes give a valid pointer.
llmh_buffer allocate_pages(uint64_t bytes);
void free_pages(llmh_buffer& buffer);

// Throws llmh::Error for a type that cannot be decoded or a size that does not fit the shape.
void check_weight_source(const llmh_weight_source& source);
llmh_weight take_weight(const llmh_weight_source& source);

// `isa` is empty or "auto" for the best of this machine, or one of its names. Throws llmh::Error with the
// known names.
Kernels choose_kernels(const char* isa);

}  // namespace llmhost::cpu
