#include "ops/head_tile.h"

#include <algorithm>
#include <cmath>

#include "ops/linear.h"

namespace llmhost::cpu {
namespace {

constexpr int64_t kTileFloats =
    80 * 1024;  // of the weight: packed in both ways it stays in the second-level cache
constexpr int64_t kLeastTile = 32;
constexpr int64_t kMostTile = 512;
constexpr int64_t kDepthWords = 384;  // of a panel of x in the first-level cache
constexpr int64_t kLeftWidth = 360;   // of all panels of x, whatever the kernel's tile is

int64_t logit_stride(int64_t depth) {
  return head_tile(depth) + 16;  // no power of two
}

class Work {
 public:
  Work(const Kernels& kernels, const Head& head, const HeadPart& part, float* scratch)
      : kernels_(kernels.gemm),
        loss_(kernels.loss),
        elementwise_(kernels.elementwise),
        head_(head),
        part_(part),
        tile_(head_tile(head.depth)),
        stride_(row_floats(head.depth)),
        logit_stride_(logit_stride(head.depth)) {
    const int64_t panels = (part.n_rows + kernels_.tile_rows - 1) / kernels_.tile_rows;
    tall_ = (part.n_rows + panels - 1) / panels;
    width_ = (tall_ + 3) / 4 * 4;
    left_ = scratch;
    turned_ = left_ + kLeftWidth * stride_;
    spread_ = turned_ + (tile_ + kGemmMostColumns) * stride_;
    rows_ = spread_ + tile_ * (stride_ + kGemmMostColumns);
    logits_ = rows_ + tile_ * stride_;
    panel_ = logits_ + kMostHeadRows * logit_stride_;
  }

  void run() {
    each_panel([&](int64_t row, int64_t n) {
      turn({head_.x.x, head_.x.rows + part_.row + row, head_.x.stride, n}, head_.depth, width_,
           left_ + row / tall_ * width_ * words(head_.depth));
    });
    for (int64_t v = part_.begin; v < part_.end; v += tile_) {
      const int64_t n = std::min(tile_, part_.end - v);
      pack_weight(v, n);
      multiply_logits(v, n);
      for (int64_t row = 0; row < part_.n_rows; ++row) finish_row(row, v, n);
      add_gradient(n, v > part_.begin);
    }
  }

 private:
  int64_t words(int64_t n) const { return head_.is_bf16 ? (n + 1) / 2 : n; }
  float* logits_of(int64_t row) const { return logits_ + row * logit_stride_; }

  template <typename Body>
  void each_panel(const Body& body) const {
    for (int64_t row = 0; row < part_.n_rows; row += tall_) body(row, std::min(tall_, part_.n_rows - row));
  }

  void turn(const GemmRows& rows, int64_t depth, int64_t width, float* out) const {
    if (head_.is_bf16)
      kernels_.turn_bf16(rows, depth, width, reinterpret_cast<uint32_t*>(out));
    else
      kernels_.turn(rows, depth, width, out);
  }

  void multiply(const GemmTile& tile) const { (head_.is_bf16 ? kernels_.bf16 : kernels_.f32)(tile); }

  // Rows [v, v + n) of the weight, once for either product: spread first, which reads memory as one stream.
  void pack_weight(int64_t v, int64_t n) const {
    if (head_.is_bf16 && head_.weight.has_pairs()) return pack_pairs(v, n);
    const bool in_place = head_.weight.is_in_place();
    const int64_t stride = in_place ? head_.weight.row_elements : stride_;
    const float* first = in_place ? head_.weight.row(v, 0, head_.depth, nullptr) : rows_;
    if (!in_place)
      for (int64_t i = 0; i < n; ++i) head_.weight.row(v + i, 0, head_.depth, rows_ + i * stride_);
    const int64_t columns = kernels_.columns;
    const int64_t panel = words(n) * columns;
    for (int64_t i = 0; i < n; i += head_.is_bf16 ? 2 : 1) {
      const float* row = first + i * stride;
      float* out = spread_ + words(i) * columns;
      if (head_.is_bf16)
        kernels_.spread_bf16(row, i + 1 < n ? row + stride : nullptr, head_.depth, panel,
                             reinterpret_cast<uint32_t*>(out));
      else
        kernels_.spread(row, head_.depth, panel, out);
    }
    for (int64_t i = 0; i < n; i += columns)
      turn({first + i * stride, nullptr, stride, std::min(columns, n - i)}, head_.depth, columns,
           turned_ + i * words(head_.depth));
  }

  // The same of a weight that is bf16.
  void pack_pairs(int64_t v, int64_t n) const {
    const GemmRight& weight = head_.weight;
    const int64_t columns = kernels_.columns;
    for (int64_t i = 0; i < n; i += 2)
      kernels_.spread_pairs(weight.stored(v + i, 0), i + 1 < n ? weight.stored(v + i + 1, 0) : nullptr,
                            head_.depth, words(n) * columns,
                            reinterpret_cast<uint32_t*>(spread_ + words(i) * columns));
    for (int64_t i = 0; i < n; i += columns)
      kernels_.turn(weight.pairs(v + i, 0, std::min(columns, n - i)), words(head_.depth), columns,
                    turned_ + i * words(head_.depth));
  }

  void multiply_logits(int64_t v, int64_t n) const {
    if (head_.bias != nullptr)
      for (int64_t row = 0; row < part_.n_rows; ++row) std::copy_n(head_.bias + v, n, logits_of(row));
    const int64_t depth = words(head_.depth);
    for (int64_t k = 0; k == 0 || k < depth; k += kDepthWords)
      each_panel([&](int64_t row, int64_t rows) {
        multiply({.a = left_ + (row / tall_ * depth + k) * width_,
                  .b = turned_ + k * kernels_.columns,
                  .c = logits_of(row),
                  .c_rows = nullptr,
                  .a_stride = width_,
                  .b_stride = kernels_.columns,
                  .b_panel = depth * kernels_.columns,
                  .c_stride = logit_stride_,
                  .rows = rows,
                  .columns = n,
                  .depth = std::min(kDepthWords, depth - k),
                  .adds = k > 0 || head_.bias != nullptr});
      });
  }

  // Logits to what they give the gradient.
  void finish_row(int64_t row, int64_t v, int64_t n) const {
    float* x = logits_of(row);
    if (head_.value != 1) elementwise_.scale(head_.value, x, n, x);
    if (head_.cap != 0) elementwise_.softcap(head_.cap, x, n, x);
    const int64_t label = part_.labels[head_.x.rows[part_.row + row]] - v;
    if (label >= 0 && label < n) part_.label_logits[row] = x[label];
    RowSums& sums = part_.sums[row];
    const float largest = std::max(sums.largest, loss_.largest(x, n));
    if (largest == -std::numeric_limits<float>::infinity()) {
      std::fill_n(x, n, 0.0F);
      return;
    }
    if (largest != sums.largest && sums.sum != 0) {
      const double factor = std::exp(static_cast<double>(sums.largest) - static_cast<double>(largest));
      float* dx = part_.dx + row * head_.depth;
      elementwise_.scale(static_cast<float>(factor), dx, head_.depth, dx);
      sums.sum *= factor;
    }
    sums.largest = largest;
    sums.sum += static_cast<double>(loss_.exp_in_place(x, n, largest, head_.cap));
  }

  void add_gradient(int64_t n, bool adds) const {
    each_panel([&](int64_t row, int64_t rows) {
      turn({logits_of(row), nullptr, logit_stride_, rows}, n, kGemmRows, panel_);
      multiply({.a = panel_,
                .b = spread_,
                .c = part_.dx + row * head_.depth,
                .c_rows = nullptr,
                .a_stride = kGemmRows,
                .b_stride = kernels_.columns,
                .b_panel = words(n) * kernels_.columns,
                .c_stride = head_.depth,
                .rows = rows,
                .columns = head_.depth,
                .depth = words(n),
                .adds = adds});
    });
  }

  const GemmKernels& kernels_;
  const LossKernels& loss_;
  const ElementwiseKernels& elementwise_;
  const Head& head_;
  const HeadPart& part_;
  int64_t tile_;
  int64_t stride_;
  int64_t logit_stride_;
  int64_t tall_;   // rows of a panel of x
  int64_t width_;  // of one
  float* left_;
  float* turned_;  // the tile in panels of the vocabulary
  float* spread_;  // and in panels of the depth
  float* rows_;    // decoded
  float* logits_;
  float* panel_;
};

}  // namespace

int64_t head_tile(int64_t depth) {
  const int64_t fits = kTileFloats / std::max<int64_t>(depth, 1) / kLeastTile * kLeastTile;
  return std::clamp(fits, kLeastTile, kMostTile);
}

uint64_t head_scratch_bytes(int64_t depth) {
  const int64_t tile = head_tile(depth);
  const int64_t stride = row_floats(depth);
  const int64_t floats = (kLeftWidth + 3 * tile + kGemmMostColumns) * stride + tile * kGemmMostColumns +
                         kMostHeadRows * logit_stride(depth) + kGemmRows * tile;
  return static_cast<uint64_t>(floats) * sizeof(float);
}

void run_head_part(const Kernels& kernels, const Head& head, const HeadPart& part, float* scratch) {
  std::fill_n(part.sums, part.n_rows, RowSums{});
  if (part.n_rows > 0) Work(kernels, head, part, scratch).run();
}

}  // namespace llmhost::cpu
