// The two products of attention for a few rows: queries with keys, weights with values. Every output has one
// accumulator and one order of additions, whatever the shape of the block.
#if defined(LLMHOST_CPU_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMHOST_CPU_ATTENTION_TILE_INL_H_
#undef LLMHOST_CPU_ATTENTION_TILE_INL_H_
#else
#define LLMHOST_CPU_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/attention.h"
#include "kernels/half.h"
#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace llmhost::cpu::HWY_NAMESPACE {

// Accumulators that fit the registers beside their operands: 6 x 4 of 32 registers, 6 x 2 of 16.
#if HWY_TARGET <= HWY_AVX3
constexpr int kBlockVectors = 4;
#else
constexpr int kBlockVectors = 2;
#endif
constexpr int kBlockRows = 6;
// From the state's own type: every row more costs no decoding, every block of rows does.
constexpr int kDirectRows = 4;

HWY_INLINE Floats load_state(F32 d, const float* p) {
  return hn::LoadU(d, p);
}

HWY_INLINE Floats load_state(F32 d, const hwy::bfloat16_t* p) {
  const hn::Rebind<uint32_t, F32> du32;
  const hn::Rebind<uint16_t, F32> du16;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

HWY_INLINE Floats load_state(F32 d, const hwy::float16_t* p) {
#if HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, F32> df16;
  return hn::PromoteTo(d, hn::LoadU(df16, p));
#else
  HWY_ALIGN float values[hn::MaxLanes(F32())];
  for (size_t i = 0; i < hn::Lanes(d); ++i) values[i] = load_f16(reinterpret_cast<const uint8_t*>(p + i));
  return hn::Load(d, values);
#endif
}

HWY_INLINE Floats load_state(F32 d, const int8_t* p) {
  const hn::Rebind<int32_t, F32> di32;
  const hn::Rebind<int8_t, F32> di8;
  return hn::ConvertTo(d, hn::PromoteTo(di32, hn::LoadU(di8, p)));
}

template <typename T>
constexpr bool has_scales() {
  return std::is_same_v<T, int8_t>;
}

// Whether loads are what takes the time: then the next ones are asked for early. With more rows they wait
// less than the prefetches would cost.
template <int kRows>
constexpr bool looks_ahead() {
  return kRows <= kDirectRows;
}

// Vectors of one line of the cache, of which one prefetch is enough.
template <typename T>
constexpr int line_vectors() {
  return static_cast<int>(std::max<size_t>(1, 64 / (sizeof(T) * hn::MaxLanes(F32()))));
}

// Keys of one vector of columns: at[i * stride] is element i. `next` will be read in the same way later.
template <typename T>
struct KeyColumns {
  const T* at;
  const T* next;
  const hwy::float16_t* scales;  // [blocks of the whole width][stride]
};

template <typename T>
struct KeyBlock {
  const float* query;  // [rows][query_stride]
  int64_t query_stride;
  int64_t stride;
  int64_t first;  // of the head's elements in the whole width, for scales
  int32_t k_dim;
  float* scores;  // [rows][kAttentionChunk]
};

// scores[row, column] = sum over k_dim, ascending.
template <int kRows, int kVectors, typename T>
HWY_INLINE void score_block(const KeyBlock<T>& block, const KeyColumns<T>* columns) {
  // Not more than two: what is further may lie in another page.
  constexpr int kStep = std::min(line_vectors<T>(), 2);
  const F32 d;
  const auto lanes = lane_count();
  Floats sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  const T* at[kVectors];
  int64_t ahead[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    at[v] = columns[v].at;
    ahead[v] = reinterpret_cast<const uint8_t*>(columns[v].next) - reinterpret_cast<const uint8_t*>(at[v]);
  }
  for (int32_t i = 0; i < block.k_dim;) {
    int32_t end = block.k_dim;
    Floats scale[kVectors];
    if constexpr (has_scales<T>()) {
      const int64_t number = (block.first + i) / kStateScaleBlock;
      end = static_cast<int32_t>(std::min<int64_t>(end, (number + 1) * kStateScaleBlock - block.first));
      for (int v = 0; v < kVectors; ++v) scale[v] = load_state(d, columns[v].scales + number * block.stride);
    }
    for (; i < end; ++i) {
      Floats k[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        k[v] = load_state(d, at[v]);
        if constexpr (has_scales<T>()) k[v] = hn::Mul(k[v], scale[v]);
        if (looks_ahead<kRows>() && v % kStep == 0)
          hwy::Prefetch(reinterpret_cast<const uint8_t*>(at[v]) + ahead[v]);
        at[v] += block.stride;
      }
      for (int r = 0; r < kRows; ++r) {
        const Floats q = hn::Set(d, block.query[r * block.query_stride + i]);
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(q, k[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      hn::StoreU(sum[r][v], d, block.scores + r * kAttentionChunk + v * lanes);
}

template <typename T>
struct ValueBlock {
  const float* weights;          // [rows][kAttentionChunk], at the first key
  const T* values;               // [keys][stride], at the first column
  const T* next;                 // will be read in the same way later
  const hwy::float16_t* scales;  // [blocks of the whole width][scale_stride], at the first key
  int64_t stride;
  int64_t scale_stride;
  int64_t first;  // of the first column in the whole width: a multiple of 16 where there are scales
  int64_t keys;   // at most kAttentionGroup where there are scales
  float* sums;    // [rows][sums_stride]
  int64_t sums_stride;
};

// The scales of one vector of columns, for the keys of a group.
HWY_INLINE void load_scales(const hwy::float16_t* at, float* out) {
  const F32 d;
  for (int64_t key = 0; key < kAttentionGroup; key += lane_count())
    hn::StoreU(load_state(d, at + key), d, out + key);
}

// sums[row, column] += weights * values, keys ascending.
template <int kRows, int kVectors, typename T>
HWY_INLINE void value_block(const ValueBlock<T>& block) {
  const F32 d;
  const auto lanes = lane_count();
  Floats sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = hn::LoadU(d, block.sums + r * block.sums_stride + v * lanes);
  float scales[has_scales<T>() ? kVectors : 1][kAttentionGroup];
  if constexpr (has_scales<T>()) {
    for (int v = 0; v < kVectors; ++v)
      load_scales(block.scales + (block.first + v * lanes) / kStateScaleBlock * block.scale_stride,
                  scales[v]);
  }
  const T* at = block.values;
  const int64_t ahead =
      reinterpret_cast<const uint8_t*>(block.next) - reinterpret_cast<const uint8_t*>(block.values);
  for (int64_t key = 0; key < block.keys; ++key, at += block.stride) {
    Floats value[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      value[v] = load_state(d, at + v * lanes);
      if constexpr (has_scales<T>()) value[v] = hn::Mul(value[v], hn::Set(d, scales[v][key]));
      if (looks_ahead<kRows>() && v % line_vectors<T>() == 0)
        hwy::Prefetch(reinterpret_cast<const uint8_t*>(at + v * lanes) + ahead);
    }
    for (int r = 0; r < kRows; ++r) {
      const Floats weight = hn::Set(d, block.weights[r * kAttentionChunk + key]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, value[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      hn::StoreU(sum[r][v], d, block.sums + r * block.sums_stride + v * lanes);
}

// Calls body.operator()<kRows>() for the number of rows, 1 to kMost.
template <int kMost, typename Body>
HWY_INLINE void with_rows(int rows, const Body& body) {
  if constexpr (kMost > 1) {
    if (rows < kMost) return with_rows<kMost - 1>(rows, body);
  }
  body.template operator()<kMost>();
}

template <typename T>
constexpr int most_rows() {
  return std::is_same_v<T, float> ? kBlockRows : kDirectRows;
}

// `vectors` vectors of columns, each with its own place.
template <typename T>
void score_rows(int rows, KeyBlock<T> block, const KeyColumns<T>* columns, int vectors) {
  with_rows<most_rows<T>()>(rows, [&]<int kRows>() {
    int v = 0;
    for (; v + kBlockVectors <= vectors; v += kBlockVectors) {
      score_block<kRows, kBlockVectors>(block, columns + v);
      block.scores += kBlockVectors * lane_count();
    }
    if constexpr (kBlockVectors == 4) {
      if (v + 2 <= vectors) {
        score_block<kRows, 2>(block, columns + v);
        block.scores += 2 * lane_count();
        v += 2;
      }
    }
    if (v < vectors) score_block<kRows, 1>(block, columns + v);
  });
}

// All columns of v_dim.
template <typename T>
void value_rows(int rows, ValueBlock<T> block, int64_t v_dim) {
  const int64_t lanes = lane_count();
  const auto advance = [&](int64_t n) {
    block.values += n;
    block.next += n;
    block.first += n;
    block.sums += n;
  };
  with_rows<most_rows<T>()>(rows, [&]<int kRows>() {
    int64_t column = 0;
    for (; column + (kBlockVectors - 1) * lanes < v_dim; column += kBlockVectors * lanes) {
      value_block<kRows, kBlockVectors>(block);
      advance(kBlockVectors * lanes);
    }
    for (; column < v_dim; column += lanes) {
      value_block<kRows, 1>(block);
      advance(lanes);
    }
  });
}

}  // namespace llmhost::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
