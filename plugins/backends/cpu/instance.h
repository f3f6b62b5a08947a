// What the host holds of this backend: an opened device, its buffers and its weights.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/kernels.h"
#include "layout_choice.h"
#include "llmhost/backend.h"
#include "weight_memory.h"

struct llmh_instance {
  llmhost::cpu::Kernels kernels;
  bool rounds_activations = false;  // LLMH_PRECISION_NATIVE
  llmhost::cpu::LayoutChoice layouts;
  std::string packed_layout;  // its name; another one whenever the packed bytes change
  llmhost::cpu::WeightMemory packed_memory;
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
  const uint8_t* data = nullptr;  // as stored, any alignment; the host's, or `copy`; null: only packed
  llmh_buffer copy;
  // In the layout of kernels/packed.h, matrix after matrix; null data: not packed. Without an owner it is the
  // host's memory, until release_weight.
  llmh_buffer packed;
  std::shared_ptr<const void> packed_owner;
};

namespace llmhost::cpu {

// The zeroed allocation; throws llmh::Error when the system has no memory. 0 bytes give a valid pointer.
llmh_buffer allocate_pages(uint64_t bytes);
void free_pages(llmh_buffer& buffer);

// Throws llmh::Error for a type that cannot be decoded or a size that does not fit the shape.
void check_weight_source(const llmh_weight_source& source);
// Bytes that take_weight will allocate.
uint64_t taken_bytes(llmh_instance& instance, const llmh_weight_source& source);
llmh_weight take_weight(llmh_instance& instance, const llmh_weight_source& source);

// llmhost/weight_layout.h
llmh_str packed_layout_name(const llmh_instance& instance, const llmh_weight_source& source);
llmh_weight adopt_packed(const llmh_instance& instance, const llmh_weight_source& source, const void* bytes,
                         uint64_t n);

// body(item, thread) for each item, on the host's threads.
template <typename Body>
void run_parallel(const llmh_instance& instance, int64_t n_items, const Body& body) {
  if (instance.pool == nullptr || n_items < 2 || instance.n_threads < 2) {
    for (int64_t i = 0; i < n_items; ++i) body(i, 0);
    return;
  }
  instance.pool->parallel_for(
      instance.pool, n_items,
      [](void* context, int64_t item, int32_t thread) { (*static_cast<const Body*>(context))(item, thread); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// `isa` is empty or "auto" for the best of this machine, or one of its names. Throws llmh::Error with the
// known names.
Kernels choose_kernels(const char* isa);

}  // namespace llmhost::cpu
