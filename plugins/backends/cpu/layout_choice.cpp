#include "layout_choice.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "ops/linear.h"

namespace llmhost::cpu {
namespace {

constexpr int64_t kSampleRows = 64;
constexpr double kTolerated = 1.03;  // how much slower the packed layout may be for one token

template <typename Body>
double best_seconds(const Body& body) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto begin = Clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

// One token times some rows, in either layout.
class Sample {
 public:
  Sample(const Kernels& kernels, llmh_dtype dtype, const uint8_t* stored, int64_t depth)
      : kernels_(kernels),
        format_(kernels.packed.by_dtype[dtype]),
        decode_(kernels.decode.by_dtype[dtype]),
        stored_(stored),
        rows_(kSampleRows),
        depth_(depth),
        x_(static_cast<size_t>(depth), 0.5F),
        y_(static_cast<size_t>(rows_)),
        decoded_(static_cast<size_t>(kFewRows * row_floats(depth))),
        rounded_(static_cast<size_t>(activation_bytes(depth))),
        packed_(static_cast<size_t>(format_.bytes(rows_, depth))) {
    const llmh_dtype_layout layout = llmh_dtype_layout_of(dtype);
    row_bytes_ = depth / layout.block_elements * layout.block_bytes;
    for (int64_t row = 0; row < rows_; row += kPackedRows)
      format_.pack(stored + row * row_bytes_, row_bytes_, depth, kPackedRows,
                   packed_.data() + row / kPackedRows * format_.group_bytes(depth));
  }

  void multiply_packed() {
    kernels_.packed.quantise(x_.data(), depth_, rounded_.data());
    PackedTile tile{};
    tile.weights = packed_.data();
    tile.x = rounded_.data();
    tile.y = y_.data();
    tile.x_stride = activation_bytes(depth_);
    tile.y_stride = rows_;
    tile.tokens = 1;
    tile.rows = rows_;
    tile.depth = depth_;
    format_.multiply(tile);
  }

  // As LinearJob does it for one token.
  void multiply_stored() {
    for (int64_t row = 0; row < rows_; row += kFewRows) {
      for (int64_t i = 0; i < kFewRows; ++i)
        decode_(stored_ + (row + i) * row_bytes_, depth_, decoded_.data() + i * row_floats(depth_));
      LinearTile tile{};
      tile.x = x_.data();
      tile.w = decoded_.data();
      tile.y = y_.data() + row;
      tile.x_stride = tile.depth = depth_;
      tile.w_stride = row_floats(depth_);
      tile.y_stride = rows_;
      tile.tokens = 1;
      tile.rows = kFewRows;
      tile.w_cached = true;
      kernels_.dense.f32(tile);
    }
  }

 private:
  const Kernels& kernels_;
  const PackedFormat& format_;
  DecodeFn decode_;
  const uint8_t* stored_;
  int64_t rows_;
  int64_t depth_;
  int64_t row_bytes_ = 0;
  std::vector<float> x_;
  std::vector<float> y_;
  std::vector<float> decoded_;
  std::vector<uint8_t> rounded_;
  std::vector<uint8_t> packed_;
};

// The layouts round differently, so a moment of noise must not choose: three times in a row the packed one
// loses.
bool packed_loses(Sample& sample) {
  for (int attempt = 0; attempt < 3; ++attempt)
    if (best_seconds([&] { sample.multiply_packed(); }) <=
        kTolerated * best_seconds([&] { sample.multiply_stored(); }))
      return false;
  return true;
}

}  // namespace

bool LayoutChoice::packs(const Kernels& kernels, llmh_dtype dtype, const uint8_t* stored, int64_t rows,
                         int64_t depth) {
  if (layout_ != Layout::kMeasured) return layout_ == Layout::kPacked;
  const auto known = measured_.find({dtype, depth});
  if (known != measured_.end()) return known->second;
  if (stored == nullptr || rows < kSampleRows) return true;
  Sample sample(kernels, dtype, stored, depth);
  return measured_[{dtype, depth}] = !packed_loses(sample);
}

}  // namespace llmhost::cpu
