#include "graph/types.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace llmhost::graph {
namespace {

int64_t checked_multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product))
    throw_error(ErrorCode::kOutOfRange, "{} x {} elements are more than 64 bits count", a, b);
  return product;
}

std::string_view symbol_letter(int32_t symbol) {
  switch (symbol) {
    case LLMH_DIM_TOKENS:
      return "T";
    case LLMH_DIM_SEQUENCES:
      return "S";
    case LLMH_DIM_OUTPUTS:
      return "R";
    case LLMH_DIM_STATE:
      return "L";
    default:
      return "?";
  }
}

// The constant factor of a product of dimensions and how often each symbol occurs in it.
struct Product {
  int64_t constant = 1;
  std::array<int, 5> symbols{};
};

Product product_of(std::span<const llmh_dim> dims) {
  Product product;
  for (const llmh_dim& dim : dims) {
    product.constant = checked_multiply(product.constant, dim.size);
    if (dim.symbol > 0 && dim.symbol <= LLMH_DIM_STATE) ++product.symbols[static_cast<size_t>(dim.symbol)];
  }
  return product;
}

}  // namespace

bool same_dims(std::span<const llmh_dim> a, std::span<const llmh_dim> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_dim);
}

TensorType type_of(const llmh_tensor_info& info) {
  const auto dims = dims_of(info);
  return {info.dtype, Dims(dims.begin(), dims.end())};
}

std::string to_text(std::span<const llmh_dim> dims) {
  std::string text = "[";
  for (const llmh_dim& dim : dims) {
    if (text.size() > 1) text += ',';
    if (dim.symbol == LLMH_DIM_CONST || dim.size != 1) text += std::to_string(dim.size);
    if (dim.symbol != LLMH_DIM_CONST) text += symbol_letter(dim.symbol);
  }
  return text + "]";
}

std::string dtype_name(llmh_dtype dtype) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  return layout.name != nullptr ? layout.name : fmt::format("dtype {}", dtype);
}

bool is_float(llmh_dtype dtype) {
  return dtype == LLMH_DTYPE_F32 || dtype == LLMH_DTYPE_F16 || dtype == LLMH_DTYPE_BF16 ||
         dtype == LLMH_DTYPE_F64;
}

bool is_quantised(llmh_dtype dtype) {
  return llmh_dtype_layout_of(dtype).block_elements > 1;
}

llmh_dim flattened(std::span<const llmh_dim> dims) {
  llmh_dim flat = constant_dim(1);
  for (const llmh_dim& dim : dims) {
    flat.size = checked_multiply(flat.size, dim.size);
    if (dim.symbol == LLMH_DIM_CONST) continue;
    if (flat.symbol != LLMH_DIM_CONST)
      throw_invalid("{} cannot be one dimension: it has two symbols", to_text(dims));
    flat.symbol = dim.symbol;
  }
  return flat;
}

bool same_element_count(std::span<const llmh_dim> a, std::span<const llmh_dim> b) {
  const Product left = product_of(a);
  const Product right = product_of(b);
  return left.constant == right.constant && (left.symbols == right.symbols || left.constant == 0);
}

SymbolValues values_of(const llmh_step& step) {
  return {step.n_tokens, step.n_sequences, step.n_outputs, step.n_state};
}

SymbolValues values_of(const llmh_limits& limits) {
  return {limits.max_tokens, limits.max_sequences, limits.max_outputs,
          checked_multiply(limits.max_state, limits.max_sequences)};
}

int64_t value_of(const llmh_dim& dim, const SymbolValues& values) {
  switch (dim.symbol) {
    case LLMH_DIM_TOKENS:
      return checked_multiply(dim.size, values.tokens);
    case LLMH_DIM_SEQUENCES:
      return checked_multiply(dim.size, values.sequences);
    case LLMH_DIM_OUTPUTS:
      return checked_multiply(dim.size, values.outputs);
    case LLMH_DIM_STATE:
      return checked_multiply(dim.size, values.state);
    default:
      return dim.size;
  }
}

int64_t element_count(std::span<const llmh_dim> dims, const SymbolValues& values) {
  int64_t count = 1;
  for (const llmh_dim& dim : dims) count = checked_multiply(count, value_of(dim, values));
  return count;
}

uint64_t byte_count(llmh_dtype dtype, std::span<const llmh_dim> dims, const SymbolValues& values) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  if (layout.name == nullptr) throw_invalid("unknown element type {}", dtype);
  const int64_t row = dims.empty() ? 1 : value_of(dims.back(), values);
  if (row % layout.block_elements != 0)
    throw_invalid("rows of {} elements are not whole {} blocks of {}", row, layout.name,
                  layout.block_elements);
  const int64_t blocks = element_count(dims, values) / layout.block_elements;
  return static_cast<uint64_t>(checked_multiply(blocks, layout.block_bytes));
}

}  // namespace llmhost::graph
