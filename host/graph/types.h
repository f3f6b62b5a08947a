// Shapes with symbols: what a tensor of a graph looks like before a step says how many tokens there are.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llmhost/backend.h"

namespace llmhost::graph {

using Dims = std::vector<llmh_dim>;

struct TensorType {
  llmh_dtype dtype = LLMH_DTYPE_F32;
  Dims dims;  // row-major, innermost last
};

inline llmh_dim constant_dim(int64_t size) {
  return {size, LLMH_DIM_CONST, 0};
}
inline llmh_dim symbol_dim(int32_t symbol, int64_t multiple = 1) {
  return {multiple, symbol, 0};
}
inline bool same_dim(const llmh_dim& a, const llmh_dim& b) {
  return a.size == b.size && a.symbol == b.symbol;
}
bool same_dims(std::span<const llmh_dim> a, std::span<const llmh_dim> b);

inline std::span<const llmh_dim> dims_of(const llmh_tensor_info& info) {
  return {info.dims, static_cast<size_t>(info.rank)};
}
TensorType type_of(const llmh_tensor_info& info);

// "[T,64]", "[9T,64]", "[]".
std::string to_text(std::span<const llmh_dim> dims);
// "f32", "q4_1"; "dtype 99" for an unknown id.
std::string dtype_name(llmh_dtype dtype);

bool is_float(llmh_dtype dtype);      // f32, f16, bf16, f64
bool is_quantised(llmh_dtype dtype);  // stored in blocks of more than one element

// One dimension with as many elements as `dims` together; throws kInvalidArgument when two symbols meet or
// the product overflows.
llmh_dim flattened(std::span<const llmh_dim> dims);

// Whether both hold the same number of elements whatever the symbols' values.
bool same_element_count(std::span<const llmh_dim> a, std::span<const llmh_dim> b);

// The values of the symbols in one step, or their maxima.
struct SymbolValues {
  int64_t tokens = 0;
  int64_t sequences = 0;
  int64_t outputs = 0;
  int64_t state = 0;
};
SymbolValues values_of(const llmh_step& step);
SymbolValues values_of(const llmh_limits& limits);  // state: every sequence at its longest

// Throws kOutOfRange on overflow.
int64_t value_of(const llmh_dim& dim, const SymbolValues& values);
int64_t element_count(std::span<const llmh_dim> dims, const SymbolValues& values);
// Bytes of a dense tensor; throws kInvalidArgument when the innermost dimension is no whole number of blocks.
uint64_t byte_count(llmh_dtype dtype, std::span<const llmh_dim> dims, const SymbolValues& values);

inline std::string_view to_view(llmh_str text) {
  return {text.ptr == nullptr ? "" : text.ptr, text.ptr == nullptr ? 0 : static_cast<size_t>(text.len)};
}
inline llmh_str to_str(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace llmhost::graph
