#include "ops/gemm.h"

#include <algorithm>

#include "ops/gemm_left.h"
#include "ops/linear.h"

namespace llmhost::cpu {
namespace {

constexpr int64_t kDepthWords = 384;             // of 32 bits: a panel of a stays in the first-level cache
constexpr int64_t kRightWords = 576 * 1024 / 4;  // of packed b in the second-level cache
constexpr int64_t kDirectColumns = 512;          // where b is not packed
constexpr int64_t kLeftWords = kGemmRows * kDepthWords;
constexpr int64_t kTurnedWords = kFewGemmRows * kDirectColumns;
constexpr int64_t kLeastRows = 256;  // of a piece: another one packs the same b again
constexpr int64_t kLeastColumns = 128;
constexpr int64_t kLeastPackedColumns = 96;  // where all of the left operand is packed beforehand

int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Parts of `total`, about equal, of at most `most` and in whole units.
int64_t even_part(int64_t total, int64_t most, int64_t unit) {
  const int64_t whole = std::max(unit, most / unit * unit);
  const int64_t parts = std::max<int64_t>(1, (total + whole - 1) / whole);
  return std::min(whole, std::max(unit, round_up((total + parts - 1) / parts, unit)));
}

// Few rows of c: b is used once or twice, where it is.
bool is_direct(const Gemm& gemm) {
  return gemm.m <= kFewGemmRows && gemm.right.is_in_place() && gemm.right.is_deep && !gemm.is_bf16;
}

int64_t depth_part(const Gemm& gemm) {
  const int64_t unit = gemm.right.is_deep ? 4 : std::max<int64_t>(4, gemm.right.block);
  return even_part(gemm.depth, gemm.is_bf16 ? 2 * kDepthWords : kDepthWords, unit);
}

int64_t column_unit(const GemmKernels& kernels, const Gemm& gemm) {
  return gemm.right.is_deep ? std::max(kernels.columns, gemm.right.block) : kernels.columns;
}

// Memory that is read soon: some bytes of rows that are `stride` apart, fetched a few lines at a time.
class Ahead {
 public:
  Ahead() = default;
  Ahead(const uint8_t* first, int64_t stride, int64_t n_rows, int64_t bytes, int64_t parts)
      : row_(first), stride_(stride), n_rows_(n_rows), bytes_(bytes) {
    const int64_t lines = n_rows * ((bytes + kLine - 1) / kLine);
    lines_ = (lines + parts - 1) / std::max<int64_t>(parts, 1);
  }

  // One of the parts.
  void fetch() {
    for (int64_t i = 0; i < lines_ && n_rows_ > 0; ++i) {
      __builtin_prefetch(row_ + at_, 0, 2);
      at_ += kLine;
      if (at_ < bytes_) continue;
      at_ = 0;
      row_ += stride_;
      --n_rows_;
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const uint8_t* row_ = nullptr;
  int64_t stride_ = 0;
  int64_t n_rows_ = 0;
  int64_t bytes_ = 0;
  int64_t lines_ = 0;
  int64_t at_ = 0;
};

// Some rows and columns of c.
class Piece {
 public:
  Piece(const GemmKernels& kernels, const Gemm& gemm, float* scratch)
      : kernels_(kernels),
        gemm_(gemm),
        part_(depth_part(gemm)),
        left_(scratch),
        right_(left_ + kLeftWords),
        rows_(right_ + kRightWords),
        turned_(right_ + kRightWords - kTurnedWords) {}

  void run(int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
    const int64_t unit = column_unit(kernels_, gemm_);
    const int64_t most = is_direct(gemm_) ? kDirectColumns : kRightWords / std::max<int64_t>(1, words(part_));
    const int64_t width = even_part(column_end - column, most, unit);
    for (int64_t begin = column; begin < column_end; begin += width) {
      const int64_t columns = std::min(width, column_end - begin);
      const int64_t next = begin + columns;
      run_columns(row, row_end, begin, columns, std::min(width, column_end - next));
    }
  }

 private:
  int64_t words(int64_t depth) const { return gemm_.is_bf16 ? (depth + 1) / 2 : depth; }

  // `next` columns follow.
  void run_columns(int64_t row, int64_t row_end, int64_t column, int64_t columns, int64_t next) {
    const int64_t panels = (row_end - row + kernels_.tile_rows - 1) / kernels_.tile_rows;
    const int64_t tall = gemm_.panels == nullptr ? (row_end - row + panels - 1) / panels : kernels_.tile_rows;
    for (int64_t k = 0; k == 0 || k < gemm_.depth; k += part_) {
      const int64_t n = std::min(part_, gemm_.depth - k);
      if (!is_direct(gemm_)) pack_right(k, n, column, columns, right_);
      const bool is_last = k + n == gemm_.depth;
      Ahead ahead = is_last ? right_ahead(0, column + columns, next, panels)
                            : right_ahead(k + n, column, columns, panels);
      for (int64_t r = row; r < row_end; r += tall) {
        const int64_t rows = std::min(tall, row_end - r);
        left_ahead(k, n, r + rows, std::min(tall, row_end - r - rows));
        ahead.fetch();
        if (k == 0 && gemm_.bias != nullptr) write_bias(r, rows, column, columns);
        if (gemm_.panels == nullptr) pack_left(k, n, r, rows);
        multiply(k, n, r, rows, column, columns);
      }
    }
    if (gemm_.turns) turn_back(column, columns);
  }

  void multiply(int64_t k, int64_t n, int64_t row, int64_t rows, int64_t column, int64_t columns) const {
    const bool is_listed = gemm_.c_rows != nullptr;
    const bool is_packed = gemm_.panels != nullptr;
    GemmTile tile = {.a = is_packed ? packed_left(row, k) : left_,
                     .b = right_,
                     .c = gemm_.c + (is_listed ? 0 : row * gemm_.c_stride) + column,
                     .c_rows = is_listed ? gemm_.c_rows + row : nullptr,
                     .a_stride = is_packed ? panel_width(kernels_) : int64_t{kGemmRows},
                     .b_stride = kernels_.columns,
                     .b_panel = words(n) * kernels_.columns,
                     .c_stride = gemm_.c_stride,
                     .rows = rows,
                     .columns = columns,
                     .depth = words(n),
                     .adds = k > 0 || gemm_.bias != nullptr};
    if (gemm_.turns) {
      tile.c = turned_ + row * kDirectColumns;
      tile.c_stride = kDirectColumns;
    }
    const auto run_tile = gemm_.is_bf16 ? kernels_.bf16 : kernels_.f32;
    if (!is_direct(gemm_)) return run_tile(tile);
    // A last panel that is not whole is packed, for panels are read whole.
    const int64_t whole = columns / kernels_.columns * kernels_.columns;
    if (whole < columns) {
      GemmTile last = tile;
      pack_right(k, n, column + whole, columns - whole, right_);
      last.c += whole;
      last.columns = columns - whole;
      run_tile(last);
    }
    tile.columns = whole;
    tile.b = gemm_.right.row(k, column, whole, nullptr);
    tile.b_stride = gemm_.right.row_elements;
    tile.b_panel = kernels_.columns;
    if (whole > 0) run_tile(tile);
  }

  void write_bias(int64_t row, int64_t rows, int64_t column, int64_t columns) const {
    for (int64_t r = row; r < row + rows; ++r) {
      const int64_t place = gemm_.c_rows == nullptr ? r : gemm_.c_rows[r];
      std::copy_n(gemm_.bias + column, columns, gemm_.c + place * gemm_.c_stride + column);
    }
  }

  void turn_back(int64_t column, int64_t columns) const {
    for (int64_t i = 0; i < columns; ++i)
      for (int64_t r = 0; r < gemm_.m; ++r)
        gemm_.c[(column + i) * gemm_.c_stride + r] = turned_[r * kDirectColumns + i];
  }

  // What is packed from depth k on, for some columns.
  Ahead right_ahead(int64_t k, int64_t column, int64_t columns, int64_t parts) const {
    const GemmRight& right = gemm_.right;
    if (is_direct(gemm_) || right.rows != nullptr || right.unpack != nullptr || columns <= 0) return {};
    const int64_t n = std::min(part_, gemm_.depth - k);
    const auto bytes = [&](int64_t elements) { return elements / right.block * right.block_bytes; };
    if (right.is_deep)
      return {right.data + k * right.row_bytes + bytes(column), right.row_bytes, n, bytes(columns), parts};
    return {right.data + column * right.row_bytes + bytes(k), right.row_bytes, columns, bytes(n), parts};
  }

  const float* packed_left(int64_t row, int64_t k) const {
    return gemm_.panels + (row / kernels_.tile_rows * gemm_.words() + words(k)) * panel_width(kernels_);
  }

  // The next panel of the left operand.
  void left_ahead(int64_t k, int64_t n, int64_t row, int64_t rows) const {
    if (gemm_.left_is_deep || rows <= 0) return;
    if (gemm_.panels != nullptr) {
      const int64_t bytes = words(n) * panel_width(kernels_) * static_cast<int64_t>(sizeof(float));
      return Ahead(reinterpret_cast<const uint8_t*>(packed_left(row, k)), 0, 1, bytes, 1).fetch();
    }
    for (int64_t r = row; r < row + rows; ++r) {
      const auto* first = reinterpret_cast<const uint8_t*>(gemm_.left.row(r) + k);
      Ahead(first, 0, 1, n * static_cast<int64_t>(sizeof(float)), 1).fetch();
    }
  }

  // Rows of the panel are beside each other already: where there are as many as a panel is wide, each is one
  // copy of fixed size.
  void copy_left(int64_t k, int64_t n, int64_t row, int64_t rows) const {
    const bool is_whole = row + kGemmRows <= gemm_.m;
    for (int64_t i = 0; i < n; ++i) {
      const float* from = gemm_.left.row(k + i) + row;
      if (is_whole)
        std::memcpy(left_ + i * kGemmRows, from, kGemmRows * sizeof(float));
      else
        std::memcpy(left_ + i * kGemmRows, from, static_cast<size_t>(rows) * sizeof(float));
    }
  }

  // Rows [row, row + rows) of c, n of the depth from k on.
  void pack_left(int64_t k, int64_t n, int64_t row, int64_t rows) const {
    GemmRows part = gemm_.left;
    if (gemm_.left_is_deep) return copy_left(k, n, row, rows);
    if (part.rows == nullptr)
      part.x += row * part.stride;
    else
      part.rows += row;
    part.x += k;
    part.n = rows;
    turn(part, n, kGemmRows, left_);
  }

  void turn(const GemmRows& rows, int64_t n, int64_t width, float* out) const {
    if (gemm_.is_bf16)
      kernels_.turn_bf16(rows, n, width, reinterpret_cast<uint32_t*>(out));
    else
      kernels_.turn(rows, n, width, out);
  }

  void pack_right(int64_t k, int64_t n, int64_t column, int64_t columns, float* out) const {
    if (gemm_.right.is_deep) return pack_deep(k, n, column, columns, out);
    for (int64_t c = 0; c < columns; c += kernels_.columns)
      pack_turned(k, n, column + c, std::min(kernels_.columns, columns - c), out + c * words(n));
  }

  // Rows follow the depth: they are spread over the panels.
  void pack_deep(int64_t k, int64_t n, int64_t column, int64_t columns, float* out) const {
    const GemmRight& right = gemm_.right;
    const int64_t panel = words(n) * kernels_.columns;
    if (!gemm_.is_bf16) {
      for (int64_t i = 0; i < n; ++i, out += kernels_.columns)
        kernels_.spread(right.row(k + i, column, columns, rows_), columns, panel, out);
      return;
    }
    float* second = rows_ + row_floats(right.row_elements);
    for (int64_t i = 0; i < n; i += 2, out += kernels_.columns) {
      if (right.is_bf16) {
        kernels_.spread_pairs(right.stored(k + i, column),
                              i + 1 < n ? right.stored(k + i + 1, column) : nullptr, columns, panel,
                              reinterpret_cast<uint32_t*>(out));
        continue;
      }
      const float* low = right.row(k + i, column, columns, rows_);
      const float* high = i + 1 < n ? right.row(k + i + 1, column, columns, second) : nullptr;
      kernels_.spread_bf16(low, high, columns, panel, reinterpret_cast<uint32_t*>(out));
    }
  }

  // Rows are columns of the product: one panel of them.
  void pack_turned(int64_t k, int64_t n, int64_t column, int64_t columns, float* out) const {
    const GemmRight& right = gemm_.right;
    if (gemm_.is_bf16 && right.has_pairs())
      return kernels_.turn(right.pairs(column, k, columns), words(n), kernels_.columns, out);
    if (right.is_in_place()) {
      const float* first = right.row(column, k, n, nullptr);
      return turn({first, nullptr, right.row_elements, columns}, n, kernels_.columns, out);
    }
    const int64_t stride = row_floats(right.row_elements);
    const float* first = rows_;
    for (int64_t c = 0; c < columns; ++c) {
      const float* row = right.row(column + c, k, n, rows_ + c * stride);
      if (c == 0) first = row;  // the others are as far within theirs
    }
    turn({first, nullptr, stride, columns}, n, kernels_.columns, out);
  }

  const GemmKernels& kernels_;
  const Gemm& gemm_;
  int64_t part_;  // of the depth
  float* left_;
  float* right_;
  float* rows_;    // decoded
  float* turned_;  // at the end of right_, of which little is used then
};

int64_t wanted_pieces(const Gemm& gemm, int32_t n_threads) {
  constexpr int64_t kPiecesEach = 3;          // of a thread
  constexpr int64_t kWork = 4 * 1024 * 1024;  // multiplications of a piece: some ten microseconds
  const double work =
      static_cast<double>(gemm.m) * static_cast<double>(gemm.n) * static_cast<double>(gemm.depth);
  const auto useful = static_cast<int64_t>(std::min(work / kWork, 1e6));
  return n_threads == 1 ? 1 : std::clamp<int64_t>(useful, 1, kPiecesEach * n_threads);
}

int64_t parts(int64_t total, int64_t least, int64_t most) {
  return std::clamp<int64_t>(std::min(total / least, most), 1, std::max<int64_t>(most, 1));
}

}  // namespace

// Pieces of columns first where the right operand costs more to decode than the left to pack, or the left is
// packed.
GemmGrid gemm_grid(const GemmKernels& kernels, const Gemm& gemm, int32_t n_threads) {
  const bool is_packed = gemm.panels != nullptr;
  const int64_t unit = column_unit(kernels, gemm);
  const int64_t wanted = wanted_pieces(gemm, n_threads);
  const bool is_decoded = gemm.right.block > 1;
  const int64_t least = is_packed ? kLeastPackedColumns : kLeastColumns;
  int64_t columns = is_decoded || is_packed
                        ? parts(gemm.n, least, wanted)
                        : std::clamp<int64_t>((gemm.n + kDirectColumns - 1) / kDirectColumns, 1, wanted);
  const int64_t rows = parts(gemm.m, kLeastRows, (wanted + columns - 1) / columns);
  columns = std::max(columns, parts(gemm.n, least, (wanted + rows - 1) / rows));
  GemmGrid grid;
  grid.rows = std::max<int64_t>(1, (gemm.m + rows - 1) / rows);
  if (is_packed) grid.rows = round_up(grid.rows, kernels.tile_rows);
  grid.columns = std::max(unit, round_up((gemm.n + columns - 1) / columns, unit));
  grid.n_rows = (gemm.m + grid.rows - 1) / grid.rows;
  grid.n_columns = (gemm.n + grid.columns - 1) / grid.columns;
  return grid;
}

void run_piece(const GemmKernels& kernels, const Gemm& gemm, const GemmGrid& grid, int64_t index,
               float* scratch) {
  const int64_t row = index % grid.n_rows * grid.rows;
  const int64_t column = index / grid.n_rows * grid.columns;
  Piece(kernels, gemm, scratch)
      .run(row, std::min(row + grid.rows, gemm.m), column, std::min(column + grid.columns, gemm.n));
}

void run_gemm(const RunContext& context, const Gemm& gemm, LeftPanels& panels) {
  const int64_t rows = panels.rows_at_once(context.kernels.gemm, gemm);
  if (rows == 0) return run_gemm(context, gemm);
  for (int64_t row = 0; row < gemm.m; row += rows) {
    Gemm part = gemm;
    part.m = std::min(rows, gemm.m - row);
    part.left.x += row * gemm.left.stride;
    part.left.n = part.m;
    part.c += row * gemm.c_stride;
    part.panels = panels.pack(context, part);
    run_gemm(context, part);
  }
}

void run_gemm(const RunContext& context, const Gemm& gemm) {
  const GemmKernels& kernels = context.kernels.gemm;
  const GemmGrid grid = gemm_grid(kernels, gemm, context.n_threads());
  context.parallel(grid.count(), [&](int64_t index, int32_t thread) {
    run_piece(kernels, gemm, grid, index, context.thread_scratch(thread));
  });
}

uint64_t gemm_scratch_bytes(int64_t row_elements) {
  return static_cast<uint64_t>(kLeftWords + kRightWords + kGemmMostColumns * row_floats(row_elements)) *
         sizeof(float);
}

}  // namespace llmhost::cpu
