// Kernels of packed weights on one thread: GOP/s and GB/s of weights for some numbers of tokens, and how fast
// weights are packed and activations rounded. Weights of 64 MiB or more are read once a call. usage:
// cpu_packed [--isa NAME] [--dtype NAME] [--depth K] [--seconds S] [--clock wall|cpu]
#include <cstdio>
#include <cstring>
#include <string>

#include "backend_bench.h"
#include "instance.h"

namespace llmhost::bench {
namespace {

struct Settings {
  Options options;
  std::string dtype;
  int64_t depth = 2048;
};

// Scales that are no halves become ordinary numbers: sums of subnormal numbers are slow.
void tame(llmh_dtype dtype, uint8_t* block) {
  if (dtype == LLMH_DTYPE_I8_32) block[3] = 0x3C;
  if (dtype == LLMH_DTYPE_MXFP4) block[0] = 120;
  if (dtype == LLMH_DTYPE_NVFP4)
    for (int i = 0; i < 4; ++i) block[i] |= 0x20;
}

struct Data {
  Data(const cpu::Kernels& k, llmh_dtype type, int64_t depth_, size_t least_bytes)
      : kernels(k), format(k.packed.by_dtype[type]), depth(depth_) {
    const llmh_dtype_layout layout = llmh_dtype_layout_of(type);
    row_bytes = depth / layout.block_elements * layout.block_bytes;
    rows = (static_cast<int64_t>(least_bytes) / row_bytes + 31) / 32 * 32;
    stored.resize(static_cast<size_t>(rows * row_bytes));
    uint32_t state = 1;
    for (size_t i = 0; i < stored.size(); ++i) {
      state = state * 1664525U + 1013904223U;  // 16-bit words are small finite halves: scales have to be
      stored[i] = static_cast<uint8_t>((state >> 24) & (i % 2 == 0 ? 0xFFU : 0x23U));
    }
    for (size_t block = 0; block < stored.size(); block += layout.block_bytes)
      tame(type, stored.data() + block);
    packed.resize(static_cast<size_t>(format.bytes(rows, depth)) + 64);
  }
  uint8_t* groups() {
    return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(packed.data()) + 63) / 64 * 64);
  }
  void pack() {
    for (int64_t row = 0; row < rows; row += cpu::kPackedRows)
      format.pack(stored.data() + row * row_bytes, row_bytes, depth, cpu::kPackedRows,
                  groups() + row / cpu::kPackedRows * format.group_bytes(depth));
  }

  const cpu::Kernels& kernels;
  const cpu::PackedFormat& format;
  int64_t depth, rows, row_bytes;
  std::vector<uint8_t> stored, packed;
};

void print(const Settings& s, llmh_dtype dtype, const char* what, int64_t tokens, double seconds, double ops,
           double bytes) {
  std::printf(
      "{\"bench\":\"cpu_packed\",\"isa\":\"%s\",\"dtype\":\"%s\",\"what\":\"%s\",\"depth\":%d,\"tokens\":%d,"
      "\"us\":%.1f,\"gops\":%.1f,\"gb_per_s\":%.2f}\n",
      s.options.isa.c_str(), llmh_dtype_layout_of(dtype).name, what, static_cast<int>(s.depth),
      static_cast<int>(tokens), seconds * 1e6, ops * 1e-9 / seconds, bytes * 1e-9 / seconds);
  std::fflush(stdout);
}

void measure(const Settings& s, const cpu::Kernels& kernels, llmh_dtype dtype) {
  constexpr int64_t kMaxTokens = 512;
  Data large(kernels, dtype, s.depth, size_t{64} << 20);
  const double pack_seconds = best_time(s.options.seconds, [&] { large.pack(); });
  print(s, dtype, "pack", 0, pack_seconds, 0, static_cast<double>(large.stored.size()));
  Data small(kernels, dtype, s.depth, size_t{1} << 20);
  small.pack();

  const auto x_stride = static_cast<size_t>(cpu::activation_bytes(s.depth));
  std::vector<cpu::ActivationBlock> x(kMaxTokens * x_stride / sizeof(cpu::ActivationBlock));
  std::vector<float> values(static_cast<size_t>(s.depth));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 37 % 101) - 50.0F;
  auto* x_bytes = reinterpret_cast<uint8_t*>(x.data());
  const auto quantise = [&] {
    for (size_t t = 0; t < kMaxTokens; ++t)
      kernels.packed.quantise(values.data(), s.depth, x_bytes + t * x_stride);
  };
  print(s, dtype, "quantise", kMaxTokens, best_time(s.options.seconds / 4, quantise), 0,
        static_cast<double>(kMaxTokens * values.size() * sizeof(float)));
  std::vector<float> y(static_cast<size_t>(kMaxTokens * std::max(small.rows, large.rows / 16)));
  for (const int64_t tokens : {1, 2, 4, 8, 16, 512}) {
    Data& data = tokens <= 16 ? large : small;
    const cpu::PackedTile tile = {.weights = data.groups(),
                                  .x = x_bytes,
                                  .bias = nullptr,
                                  .y = y.data(),
                                  .x_rows = nullptr,
                                  .y_rows = nullptr,
                                  .x_stride = static_cast<int64_t>(x_stride),
                                  .y_stride = data.rows,
                                  .tokens = tokens,
                                  .rows = data.rows,
                                  .depth = s.depth};
    const double seconds = best_time(s.options.seconds, [&] { data.format.multiply(tile); });
    print(s, dtype, "multiply", tokens, seconds,
          2.0 * static_cast<double>(tokens) * static_cast<double>(data.rows) * static_cast<double>(s.depth),
          static_cast<double>(data.stored.size()));
  }
}

}  // namespace
}  // namespace llmhost::bench

int main(int argc, char** argv) {
  using namespace llmhost;
  bench::Settings settings;
  settings.options = bench::parse_options(argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--dtype") == 0) settings.dtype = argv[i + 1];
    if (std::strcmp(argv[i], "--depth") == 0) settings.depth = std::stoll(argv[i + 1]);
  }
  const cpu::Kernels kernels = cpu::choose_kernels(settings.options.isa.c_str());
  for (llmh_dtype dtype = 0; dtype < LLMH_DTYPE_COUNT_; ++dtype) {
    if (!kernels.packed.by_dtype[dtype].supports(settings.depth)) continue;
    if (settings.dtype.empty() || settings.dtype == llmh_dtype_layout_of(dtype).name)
      bench::measure(settings, kernels, dtype);
  }
  return 0;
}
