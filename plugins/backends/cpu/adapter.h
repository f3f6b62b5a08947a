// What the host holds of an adapter: the changes of its sites, in one allocation. A is stored as it is
// ([r,K]), for products with dense weights; B in units of columns (kernels.h). A and B lie site after site: a
// step reads those of neighbouring modules one after another.
#pragma once

#include <cstdint>

#include "instance.h"

namespace llmhost::cpu {

// One site. Matrices are f32, or with LLMH_PRECISION_NATIVE of 16 bits: bf16 where that is exact for all
// their values, else f16 or bf16, whichever errs less.
struct alignas(64) SiteDelta {
  int32_t kind = 0;  // LLMH_MODULE_*; 0: the adapter has nothing here
  int32_t rank = 0;
  int64_t in_features = 0;
  int64_t out_features = 0;
  float scale = 0;
  llmh_dtype a_dtype = LLMH_DTYPE_F32;
  llmh_dtype b_dtype = LLMH_DTYPE_F32;
  llmh_dtype weight_dtype = LLMH_DTYPE_F32;
  const uint8_t* a = nullptr;  // [r,K]; of an embedding [K,r]: a row for each id
  const uint8_t* b = nullptr;
  const uint8_t* weight = nullptr;  // [N,K], a table [K,N], or a norm's [D] of f32
  const float* b_bias = nullptr;
  const float* row_scale = nullptr;
  const float* bias = nullptr;
};

}  // namespace llmhost::cpu

struct llmh_adapter {
  llmh_buffer memory;
  const llmhost::cpu::SiteDelta* sites = nullptr;  // [n_sites], in `memory`; that of site i at i - 1
  int32_t n_sites = 0;
  int32_t max_rank = 0;
  uint64_t id = 0;  // no other adapter of the process has or had it

  // Null where the adapter changes nothing.
  const llmhost::cpu::SiteDelta* find(int32_t site) const {
    return site <= n_sites && sites[site - 1].kind != 0 ? &sites[site - 1] : nullptr;
  }
  // Into a cache, for find.
  void fetch(int32_t site) const {
    if (site <= n_sites) __builtin_prefetch(sites + site - 1);
  }
};

namespace llmhost::cpu {

// Throw llmh::Error for deltas that make no sense. [thread-safe]
uint64_t adapter_memory_bytes(const llmh_instance& instance, const llmh_site_delta* const* deltas,
                              uint32_t n_deltas);
llmh_adapter* make_adapter(const llmh_instance& instance, const llmh_site_delta* const* deltas,
                           uint32_t n_deltas);
void free_adapter(llmh_adapter* adapter);

}  // namespace llmhost::cpu
