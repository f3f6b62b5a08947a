// Weights stay as stored, used in place when the host keeps them and copied once otherwise, unless the
// products that read them round activations and have a packed layout for the type.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "instance.h"
#include "llmhost/plugin.hpp"
#include "llmhost/weight_layout.h"

namespace llmhost::cpu {
namespace {

// What a thread packs at a time, and from where on a weight's stored pages are let go in between: a call into
// the system for each piece.
constexpr int64_t kPiece = 256 * 1024;
constexpr int64_t kLargePiece = 2 * 1024 * 1024;
constexpr uint64_t kLargeWeight = uint64_t{32} << 20;

[[noreturn]] void refuse(const llmh_weight_source& source, const std::string& why) {
  throw llmh::Error(LLMH_INVALID_ARGUMENT,
                    "[cpu] weight " + std::string(llmh::view(source.name)) + ": " + why);
}

bool is_known(llmh_dtype dtype) {
  switch (dtype) {
    case LLMH_DTYPE_INVALID:
    case LLMH_DTYPE_I8:
    case LLMH_DTYPE_I16:
    case LLMH_DTYPE_U8:
    case LLMH_DTYPE_BOOL:
    case LLMH_DTYPE_I64:
      return false;
    default:
      return llmh_dtype_layout_of(dtype).block_elements != 0;
  }
}

// The matrices of a weight: rank 2 has one, rank 3 one an expert.
struct Matrices {
  int64_t count;
  int64_t rows;
  int64_t depth;

  int64_t groups() const { return (rows + kPackedRows - 1) / kPackedRows; }
  uint64_t packed_bytes(const PackedFormat& format) const {
    uint64_t bytes = 0;  // a few rows may need more than they had, by padding: checked
    if (__builtin_mul_overflow(static_cast<uint64_t>(count * groups()),
                               static_cast<uint64_t>(format.group_bytes(depth)), &bytes))
      throw llmh::Error(LLMH_INVALID_ARGUMENT, "[cpu] a packed weight's size overflows");
    return bytes;
  }
};

Matrices matrix_of(const llmh_weight_source& source) {
  return {source.rank == 3 ? source.shape[0] : 1, source.shape[source.rank - 2],
          source.shape[source.rank - 1]};
}

const PackedFormat& format_of(const llmh_instance& instance, const llmh_weight_source& source) {
  return instance.kernels.packed.by_dtype[source.dtype];
}

// Rows of a table are read where they are stored, so these must stay there.
bool may_be_packed(const llmh_instance& instance, const llmh_weight_source& source) {
  if (!instance.rounds_activations || (source.uses & LLMH_USE_LINEAR) == 0) return false;
  // Those of training are read in both directions, too.
  if ((source.uses & ~uint32_t{LLMH_USE_LINEAR | LLMH_USE_TABLE}) != 0) return false;
  if ((source.uses & LLMH_USE_TABLE) != 0 && source.data_outlives == 0) return false;
  if (source.rank != 2 && source.rank != 3) return false;
  return source.bytes > 0 && format_of(instance, source).supports(matrix_of(source).depth);
}

bool is_packed(llmh_instance& instance, const llmh_weight_source& source) {
  if (!may_be_packed(instance, source)) return false;
  const Matrices matrices = matrix_of(source);
  return instance.layouts.packs(instance.kernels, source.dtype, static_cast<const uint8_t*>(source.data),
                                matrices.rows, matrices.depth);
}

// A piece that was packed is not in memory twice while the rest of a large weight is: `begin` and `end` of
// what was read of it.
void drop_pages(const uint8_t* begin, const uint8_t* end) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void pack(llmh_instance& instance, const llmh_weight_source& source, llmh_weight& weight) {
  const Matrices matrices = matrix_of(source);
  const PackedFormat& format = format_of(instance, source);
  const int64_t group_bytes = format.group_bytes(matrices.depth);
  const int64_t row_bytes = static_cast<int64_t>(source.bytes) / (matrices.count * matrices.rows);
  const int64_t groups = matrices.groups();
  const uint64_t bytes = matrices.packed_bytes(format);
  WeightMemory::Piece memory = instance.packed_memory.allocate(bytes);
  const bool drops = (source.flags & LLMH_SOURCE_MAPPED) != 0 && source.bytes >= kLargeWeight;
  const int64_t piece = std::max<int64_t>(1, (drops ? kLargePiece : kPiece) / group_bytes);
  const int64_t n = matrices.count * groups;
  run_parallel(instance, (n + piece - 1) / piece, [&](int64_t item, int32_t) {
    const int64_t end = std::min(n, (item + 1) * piece);
    const auto stored_at = [&](int64_t i) {
      const int64_t row = i / groups * matrices.rows + i % groups * kPackedRows;
      return static_cast<const uint8_t*>(source.data) + row * row_bytes;
    };
    for (int64_t i = item * piece; i < end; ++i) {
      const int64_t row = i % groups * kPackedRows;
      const uint8_t* stored = stored_at(i);
      format.pack(stored, row_bytes, matrices.depth, std::min<int64_t>(kPackedRows, matrices.rows - row),
                  memory.data + i * group_bytes);
    }
    if (drops) drop_pages(stored_at(item * piece), stored_at(end));
  });
  weight.packed = {memory.data, bytes};
  weight.packed_owner = std::move(memory.owner);
}

}  // namespace

void check_weight_source(const llmh_weight_source& source) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(source.dtype);
  if (!is_known(source.dtype))
    refuse(source,
           std::string("type ") + (layout.name == nullptr ? "(unknown)" : layout.name) + " is not supported");
  if (source.rank < 0 || source.rank > LLMH_MAX_RANK) refuse(source, "rank " + std::to_string(source.rank));
  uint64_t elements = 1;
  for (int32_t i = 0; i < source.rank; ++i) {
    if (source.shape[i] < 0) refuse(source, "a negative dimension");
    if (__builtin_mul_overflow(elements, static_cast<uint64_t>(source.shape[i]), &elements))
      refuse(source, "the shape overflows");
  }
  const uint64_t row = source.rank == 0 ? 1 : static_cast<uint64_t>(source.shape[source.rank - 1]);
  if (row % layout.block_elements != 0)
    refuse(source, "rows of " + std::to_string(row) + " elements are not whole " + layout.name + " blocks");
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(elements / layout.block_elements, uint64_t{layout.block_bytes}, &bytes))
    refuse(source, "the shape overflows");
  if (source.bytes != bytes)
    refuse(source,
           "has " + std::to_string(source.bytes) + " bytes, its shape needs " + std::to_string(bytes));
}

uint64_t taken_bytes(llmh_instance& instance, const llmh_weight_source& source) {
  check_weight_source(source);
  if (is_packed(instance, source)) return matrix_of(source).packed_bytes(format_of(instance, source));
  return source.data_outlives != 0 ? 0 : source.bytes;
}

llmh_weight take_weight(llmh_instance& instance, const llmh_weight_source& source) {
  check_weight_source(source);
  if (source.data == nullptr && source.bytes != 0) refuse(source, "no data was given");
  llmh_weight weight;
  weight.dtype = source.dtype;
  weight.rank = source.rank;
  for (int32_t i = 0; i < source.rank; ++i) weight.shape[i] = source.shape[i];
  const bool is_table = (source.uses & LLMH_USE_TABLE) != 0;
  if (is_packed(instance, source)) {
    pack(instance, source, weight);
    if (is_table) weight.data = static_cast<const uint8_t*>(source.data);
  } else if (source.data_outlives != 0) {
    weight.data = static_cast<const uint8_t*>(source.data);
  } else {
    weight.copy = allocate_pages(source.bytes);
    if (source.bytes != 0) std::memcpy(weight.copy.data, source.data, source.bytes);
    weight.data = weight.copy.data;
  }
  return weight;
}

// The packed bytes are the same on every instruction set, but whether a weight is packed was measured on one.
llmh_str packed_layout_name(const llmh_instance& instance, const llmh_weight_source& source) {
  if (!may_be_packed(instance, source) || !instance.layouts.may_pack()) return {nullptr, 0};
  return llmh::str(instance.packed_layout);
}

llmh_weight adopt_packed(const llmh_instance& instance, const llmh_weight_source& source, const void* bytes,
                         uint64_t n) {
  check_weight_source(source);
  if (!may_be_packed(instance, source) || n != matrix_of(source).packed_bytes(format_of(instance, source)))
    refuse(source, std::to_string(n) + " packed bytes do not fit its shape");
  llmh_weight weight;
  weight.dtype = source.dtype;
  weight.rank = source.rank;
  for (int32_t i = 0; i < source.rank; ++i) weight.shape[i] = source.shape[i];
  weight.packed = {const_cast<uint8_t*>(static_cast<const uint8_t*>(bytes)), n};
  if ((source.uses & LLMH_USE_TABLE) != 0) weight.data = static_cast<const uint8_t*>(source.data);
  return weight;
}

}  // namespace llmhost::cpu
