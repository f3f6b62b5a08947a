// Weights stay as stored: used in place when the host keeps them, copied once otherwise.
#include <cstring>
#include <string>

#include "instance.h"
#include "llmhost/plugin.hpp"

namespace llmhost::cpu {
namespace {

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

llmh_weight take_weight(const llmh_weight_source& source) {
  check_weight_source(source);
  if (source.data == nullptr && source.bytes != 0) refuse(source, "no data was given");
  llmh_weight weight;
  weight.dtype = source.dtype;
  weight.rank = source.rank;
  for (int32_t i = 0; i < source.rank; ++i) weight.shape[i] = source.shape[i];
  if (source.data_outlives != 0) {
    weight.data = static_cast<const uint8_t*>(source.data);
  } else {
    weight.copy = allocate_pages(source.bytes);
    if (source.bytes != 0) std::memcpy(weight.copy.data, source.data, source.bytes);
    weight.data = weight.copy.data;
  }
  return weight;
}

}  // namespace llmhost::cpu
