#include "model/tensor_encode.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/dequantize.h"
#include "core/error.h"
#include "core/quantize.h"
#include "model/checkpoint_text.h"
#include "model/layout_steps.h"
#include "model/unlayout.h"

namespace llmhost::model {
namespace {

constexpr size_t kPiece = size_t{1} << 22;  // elements that are encoded at once
constexpr size_t kShare = size_t{1} << 14;  // elements a thread takes at once

void run(ThreadPool* threads, size_t n_items, const std::function<void(size_t)>& item) {
  if (threads == nullptr) {
    for (size_t i = 0; i < n_items; ++i) item(i);
    return;
  }
  threads->parallel_for(static_cast<int64_t>(n_items),
                        [&](int64_t i, int32_t) { item(static_cast<size_t>(i)); });
}

void encode_piece(std::string_view name, std::span<const float> values, llmh_dtype dtype, ThreadPool* threads,
                  std::vector<std::byte>& out) {
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  out.resize(values.size() / layout.block_elements * layout.block_bytes);
  std::atomic<bool> fits = true;
  const size_t share_bytes = kShare / layout.block_elements * layout.block_bytes;
  run(threads, (values.size() + kShare - 1) / kShare, [&](size_t i) {
    const auto part = values.subspan(i * kShare, std::min(kShare, values.size() - i * kShare));
    if (!quantize_row(dtype, part.data(), out.data() + i * share_bytes, part.size())) fits = false;
  });
  if (!fits)
    throw_invalid("tensor '{}': a value is not finite, or too large for {}", printable(name), layout.name);
}

void check_type(std::string_view name, llmh_dtype dtype, size_t count) {
  if (!can_quantize(dtype))
    throw_error(ErrorCode::kUnimplemented, "tensor '{}': nothing is written as {}", printable(name),
                llmh_dtype_layout_of(dtype).name);
  const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
  if (count % layout.block_elements != 0)
    throw_invalid("tensor '{}': {} elements are not whole {} blocks of {}", printable(name), count,
                  layout.name, layout.block_elements);
}

}  // namespace

bool fits_rows(llmh_dtype dtype, std::span<const int64_t> shape) {
  const auto block = static_cast<int64_t>(llmh_dtype_layout_of(dtype).block_elements);
  return can_quantize(dtype) && (block == 1 || (!shape.empty() && shape.back() % block == 0));
}

void encode_values(std::string_view name, std::span<const float> values, llmh_dtype dtype,
                   ThreadPool* threads, const TakeBytes& take) {
  check_type(name, dtype, values.size());
  std::vector<std::byte> bytes;
  for (size_t first = 0; first < values.size(); first += kPiece) {
    encode_piece(name, values.subspan(first, std::min(kPiece, values.size() - first)), dtype, threads, bytes);
    take(bytes);
  }
}

void recode(const CheckpointTensor& stored, llmh_dtype dtype, ThreadPool* threads, const TakeBytes& take) {
  if (stored.decoder != nullptr) {
    encode_values(stored.name, stored_values(stored), dtype, threads, take);
    return;
  }
  const std::span<const std::byte> data = stored.data();
  const auto count = static_cast<size_t>(stored.element_count());
  const llmh_dtype_layout layout = llmh_dtype_layout_of(stored.dtype);
  if (dtype != stored.dtype) check_type(stored.name, dtype, count);
  std::vector<float> values;
  std::vector<std::byte> bytes;
  const size_t share_bytes = kShare / layout.block_elements * layout.block_bytes;
  for (size_t first = 0; first < count; first += kPiece) {
    const size_t n = std::min(kPiece, count - first);
    const auto part = data.subspan(first / layout.block_elements * layout.block_bytes,
                                   n / layout.block_elements * layout.block_bytes);
    if (dtype == stored.dtype) {
      take(part);
    } else {
      values.resize(n);
      run(threads, (n + kShare - 1) / kShare, [&](size_t i) {
        dequantize_row(stored.dtype, part.data() + i * share_bytes, values.data() + i * kShare,
                       std::min(kShare, n - i * kShare));
      });
      encode_piece(stored.name, values, dtype, threads, bytes);
      take(bytes);
    }
  }
}

}  // namespace llmhost::model
