// A tile of c in registers: some rows times two vectors of columns.
#if defined(LLMHOST_CPU_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_GEMM_INL_H_
#undef LLMHOST_CPU_GEMM_INL_H_
#else
#define LLMHOST_CPU_GEMM_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/dense_tile-inl.h"
#include "kernels/gemm.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {
namespace {

constexpr int kGemmVectors = 2;
constexpr int kGemmColumns = kGemmVectors * kLanes;
static_assert(kGemmColumns <= kGemmMostColumns);

// Accumulators beside two vectors of b and one of a: 28 where there are 32 registers, 12 where there are 16.
#if HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kGemmTileRows = 14;
#elif HWY_TARGET == HWY_SCALAR
constexpr int kGemmTileRows = 4;
#else
constexpr int kGemmTileRows = 6;
#endif

struct GemmF32 {
  using Value = Floats;
  static HWY_INLINE Value broadcast(const float* p) { return hn::Set(F32(), *p); }
  static HWY_INLINE Value load(const float* p) { return hn::LoadU(F32(), p); }
  static HWY_INLINE void add(Floats& sum, Value a, Value b) { sum = hn::MulAdd(a, b, sum); }
};

#if HWY_TARGET == HWY_AVX3
struct GemmBf16 {
  using Value = WithBf16::Value;
  static HWY_INLINE Value broadcast(const float* p) {
    uint32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return hn::Set(WithBf16::Pairs(), pair);
  }
  static HWY_INLINE Value load(const float* p) {
    return WithBf16::load_w(reinterpret_cast<const uint8_t*>(p));
  }
  static HWY_INLINE void add(Floats& sum, Value a, Value b) { WithBf16::add(sum, a, b); }
};
#endif

HWY_INLINE float* gemm_row(const GemmTile& tile, int64_t row) {
  return tile.c + row_of(tile.c_rows, row) * tile.c_stride;
}

// kRows rows and one panel of b, which begins at `column`.
template <class Product, int kRows>
HWY_INLINE void gemm_panel(const GemmTile& tile, const float* b, int64_t column) {
  const F32 d;
  const auto* a = static_cast<const float*>(tile.a);
  const bool is_whole = column + kGemmColumns <= tile.columns;
  Floats sum[kRows][kGemmVectors];
  if (tile.adds && is_whole) {
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      const float* c = gemm_row(tile, r) + column;
      each<kGemmVectors>([&](int v) LLMHOST_CPU_INLINED { sum[r][v] = hn::LoadU(d, c + v * kLanes); });
    });
  } else {
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      each<kGemmVectors>([&](int v) LLMHOST_CPU_INLINED { sum[r][v] = hn::Zero(d); });
    });
    if (tile.adds) {
      const auto rest = static_cast<size_t>(tile.columns - column) * sizeof(float);
      each<kRows>([&](int r) LLMHOST_CPU_INLINED {
        HWY_ALIGN float kept[kGemmColumns] = {};
        std::memcpy(kept, gemm_row(tile, r) + column, rest);
        each<kGemmVectors>([&](int v) LLMHOST_CPU_INLINED { sum[r][v] = hn::Load(d, kept + v * kLanes); });
      });
    }
  }
  if (tile.adds && column + kGemmColumns < tile.columns) {  // what the next panel begins with
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      const float* next = gemm_row(tile, r) + column + kGemmColumns;
      hwy::Prefetch(next);
      if constexpr (kGemmColumns > 16) hwy::Prefetch(next + 16);
    });
  }
  const int64_t a_stride = tile.a_stride;
  const int64_t b_stride = tile.b_stride;
  for (int64_t k = tile.depth; k > 0; --k) {
    typename Product::Value values[kGemmVectors];
    each<kGemmVectors>([&](int v) LLMHOST_CPU_INLINED { values[v] = Product::load(b + v * kLanes); });
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      const auto factor = Product::broadcast(a + r);
      each<kGemmVectors>([&](int v) LLMHOST_CPU_INLINED { Product::add(sum[r][v], factor, values[v]); });
    });
    a += a_stride;
    b += b_stride;
  }
  if (is_whole) {
    each<kRows>([&](int r) LLMHOST_CPU_INLINED {
      float* c = gemm_row(tile, r) + column;
      each<kGemmVectors>([&](int v) LLMHOST_CPU_INLINED { hn::StoreU(sum[r][v], d, c + v * kLanes); });
    });
    return;
  }
  const auto rest = static_cast<size_t>(tile.columns - column) * sizeof(float);
  each<kRows>([&](int r) LLMHOST_CPU_INLINED {
    HWY_ALIGN float kept[kGemmColumns];
    each<kGemmVectors>([&](int v) LLMHOST_CPU_INLINED { hn::Store(sum[r][v], d, kept + v * kLanes); });
    std::memcpy(gemm_row(tile, r) + column, kept, rest);
  });
}

template <class Product, int kRows>
HWY_NOINLINE void gemm_rows(const GemmTile& tile) {
  const auto* b = static_cast<const float*>(tile.b);
  for (int64_t column = 0; column < tile.columns; column += kGemmColumns, b += tile.b_panel)
    gemm_panel<Product, kRows>(tile, b, column);
}

template <class Product, int kMost>
void gemm_any_rows(const GemmTile& tile) {
  if constexpr (kMost > 0) {
    if (tile.rows == kMost) return gemm_rows<Product, kMost>(tile);
    gemm_any_rows<Product, kMost - 1>(tile);
  }
}

}  // namespace
}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
