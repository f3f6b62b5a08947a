// GFLOP/s of the products of training: linear layers forwards, the gradients of their inputs and weights, and
// a head with its cross-entropy, for stored types and the shapes of a small decoder and its adapters, beside
// the highest rate of f32 multiplications and additions that one core of this machine was seen to do. usage:
// training_gemm [--isa NAME] [--threads N] [--seconds S] [--clock wall|cpu] [--precision f32|native] With
// --clock cpu rates are for a second of one core's time, which is what can be compared on a busy machine.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "backend_bench.h"
#include "graph/emit.h"
#include "graph/types.h"

namespace llmhost::bench {
namespace {

using graph::constant_dim;
using graph::symbol_dim;

constexpr int32_t kTokens = 1024;
constexpr int kRepeats = 4;  // nodes of one program, so that what makes the inputs counts little

#if defined(__x86_64__)
__attribute__((target("avx512f"))) double multiply_add_512(int64_t rounds) {
  __m512 sums[12];
  const __m512 one = _mm512_set1_ps(1);
  __m512 factor = one;
  for (__m512& sum : sums) sum = one;
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm512_fmadd_ps(one, factor, sums[j]);
    asm volatile("" : "+v"(factor));  // a round is not folded away
  }
  for (const __m512& sum : sums) asm volatile("" : : "v"(sum));
  return 12.0 * 32 * static_cast<double>(rounds);
}

__attribute__((target("avx2,fma"))) double multiply_add_256(int64_t rounds) {
  __m256 sums[12];
  const __m256 one = _mm256_set1_ps(1);
  __m256 factor = one;
  for (__m256& sum : sums) sum = one;
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm256_fmadd_ps(one, factor, sums[j]);
    asm volatile("" : "+x"(factor));  // a round is not folded away
  }
  for (const __m256& sum : sums) asm volatile("" : : "x"(sum));
  return 12.0 * 16 * static_cast<double>(rounds);
}
#endif

// Of one core; 0 where it is not known how to measure it.
double peak_gflops(double seconds) {
#if defined(__x86_64__)
  constexpr int64_t kRounds = 1 << 20;
  const bool is_wide = __builtin_cpu_supports("avx512f") != 0;
  if (!is_wide && __builtin_cpu_supports("fma") == 0) return 0;
  double operations = 0;
  const double best = best_time(
      seconds, [&] { operations = is_wide ? multiply_add_512(kRounds) : multiply_add_256(kRounds); });
  return operations / best * 1e-9;
#else
  return 0;
#endif
}

struct Shape {
  int64_t outputs;
  int64_t inputs;
};

// What each direction reads: rows of tokens, looked up in a small table, and the weight or other rows.
class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), peak_(peak_gflops(options.seconds)) {}

  void run(const char* direction, const Shape& shape, llmh_dtype dtype) {
    graph::Graph graph;
    graph.add_parameter("p", std::vector<int64_t>{1}, {});  // this makes it a graph of training
    graph::Emit emit(graph, "m");
    const std::string name = direction;
    const auto rows = [&](int64_t width) {
      const std::vector<int64_t> dims{2, width};
      const llmh_tensor table = graph.add_weight("t" + std::to_string(width) + name, LLMH_DTYPE_F32, dims);
      return emit.op(LLMH_OP_EMBEDDING, {table, graph.add_input(LLMH_INPUT_TOKEN_IDS)});
    };
    const std::vector<int64_t> dims{shape.outputs, shape.inputs};
    const auto weight = [&] { return graph.add_weight("w", dtype, dims); };
    if (name == "forward") {
      const llmh_tensor x = rows(shape.inputs);
      for (int i = 0; i < kRepeats; ++i) emit.op(LLMH_OP_LINEAR, {x, weight()});
    } else if (name == "input_grad") {
      const llmh_tensor dy = rows(shape.outputs);
      for (int i = 0; i < kRepeats; ++i) emit.op(LLMH_OP_LINEAR_INPUT_GRAD, {dy, weight()});
    } else if (name == "weight_grad") {
      const llmh_tensor dy = rows(shape.outputs);
      const llmh_tensor x = shape.inputs == shape.outputs ? dy : rows(shape.inputs);
      for (int i = 0; i < kRepeats; ++i) emit.op(LLMH_OP_LINEAR_WEIGHT_GRAD, {dy, x});
    } else {
      const llmh_tensor x = emit.gather(rows(shape.inputs), graph.add_input(LLMH_INPUT_OUTPUT_ROWS));
      emit.op(LLMH_OP_LINEAR_CROSS_ENTROPY, {x, weight(), LLMH_NO_TENSOR, graph.add_input(LLMH_INPUT_LABELS)},
              llmh_head_attrs{sizeof(llmh_head_attrs), 0, 0});
    }
    const bool is_head = name == "head";
    const double products = is_head ? 2 : kRepeats;  // the head multiplies twice
    measure(graph, direction, shape, dtype, products);
  }

 private:
  void measure(const graph::Graph& graph, const char* direction, const Shape& shape, llmh_dtype dtype,
               double products) {
    const llmh_limits limits{sizeof(llmh_limits), kTokens, 1, kTokens, kTokens, 0, 0};
    Model model(options_, graph, limits);
    std::vector<int32_t> ones(kTokens, 1);
    std::vector<int32_t> places(kTokens);
    for (int32_t i = 0; i < kTokens; ++i) places[static_cast<size_t>(i)] = i;
    const int32_t sequence_begin[2] = {0, kTokens};
    const int32_t length = kTokens;
    llmh_step step{};
    step.struct_size = sizeof step;
    step.n_tokens = step.n_outputs = kTokens;
    step.n_sequences = 1;
    step.token_ids = step.rope_lengths = step.labels = ones.data();
    step.positions = step.output_rows = places.data();
    step.sequence_begin = sequence_begin;
    step.state_lengths = &length;
    const double seconds = best_time(options_.seconds, [&] { model.run(step); });
    const double operations = products * 2 * kTokens * static_cast<double>(shape.outputs * shape.inputs);
    std::printf(
        "{\"bench\":\"training_gemm\",\"direction\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"precision\":\"%"
        "s\","
        "\"dtype\":\"%s\",\"tokens\":%d,\"outputs\":%lld,\"inputs\":%lld,\"ms\":%.3f,\"gflops\":%.1f,"
        "\"core_peak_gflops\":%.1f}\n",
        direction, options_.isa.c_str(), options_.threads,
        options_.precision == LLMH_PRECISION_NATIVE ? "native" : "f32", llmh_dtype_layout_of(dtype).name,
        kTokens, static_cast<long long>(shape.outputs), static_cast<long long>(shape.inputs), seconds * 1e3,
        operations / seconds * 1e-9, peak_);
    std::fflush(stdout);
  }

  Options options_;
  double peak_;
};

}  // namespace
}  // namespace llmhost::bench

int main(int argc, char** argv) {
  using llmhost::bench::Shape;
  llmhost::bench::Bench bench(llmhost::bench::parse_options(argc, argv));
  constexpr Shape kLayers[] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}};
  constexpr Shape kAdapters[] = {{8, 576}, {576, 8}};
  constexpr llmh_dtype kTypes[] = {LLMH_DTYPE_F32,  LLMH_DTYPE_BF16, LLMH_DTYPE_F16,
                                   LLMH_DTYPE_Q4_0, LLMH_DTYPE_Q8_0, LLMH_DTYPE_NF4};
  for (const llmh_dtype dtype : kTypes)
    for (const Shape& shape : kLayers)
      for (const char* direction : {"forward", "input_grad"}) bench.run(direction, shape, dtype);
  for (const Shape& shape : kAdapters)
    for (const char* direction : {"forward", "input_grad", "weight_grad"})
      bench.run(direction, shape, LLMH_DTYPE_F32);
  for (const Shape& shape : kLayers) bench.run("weight_grad", shape, LLMH_DTYPE_F32);
  for (const llmh_dtype dtype : kTypes) bench.run("head", {49152, 576}, dtype);
  return 0;
}
