// Limits of this machine as JSON: read bandwidth by buffer size, and peaks of the arithmetic that kernels are
// made of. Each figure is the best of many short bursts with all threads at once: a limit, not an average.
//
// usage: limits THREADS [MILLISECONDS of one burst]
//
// Peaks keep enough independent accumulators to hide the latency; operations count a multiplication and an
// addition as two.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kBursts = 60;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs `work(thread)` on every thread at once, kBursts times; the shortest time from the common start to the
// last end.
double best_seconds(int n_threads, const std::function<void(int)>& work) {
  std::atomic<int> arrived{0};
  std::vector<Clock::time_point> started(static_cast<size_t>(kBursts * n_threads));
  std::vector<Clock::time_point> ended(started.size());
  const auto run = [&](int thread) {
    for (int burst = 0; burst < kBursts; ++burst) {
      arrived.fetch_add(1);
      while (arrived.load() < (burst + 1) * n_threads) std::this_thread::yield();
      const auto slot = static_cast<size_t>(burst * n_threads + thread);
      started[slot] = Clock::now();
      work(thread);
      ended[slot] = Clock::now();
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 1; thread < n_threads; ++thread) threads.emplace_back(run, thread);
  run(0);
  for (std::thread& thread : threads) thread.join();
  double best = 1e9;
  for (int burst = 0; burst < kBursts; ++burst) {
    const auto first = static_cast<std::ptrdiff_t>(burst * n_threads);
    const auto begin = *std::min_element(started.begin() + first, started.begin() + first + n_threads);
    const auto end = *std::max_element(ended.begin() + first, ended.begin() + first + n_threads);
    best = std::min(best, std::chrono::duration<double>(end - begin).count());
  }
  return best;
}

volatile uint64_t g_sink;

__attribute__((target_clones("default", "avx2", "arch=x86-64-v4"), optimize("O3"))) uint64_t sum(
    const uint64_t* data, size_t count) {
  uint64_t totals[32] = {};
  for (size_t i = 0; i + 32 <= count; i += 32)
    for (size_t lane = 0; lane < 32; ++lane) totals[lane] += data[i + lane];
  uint64_t total = 0;
  for (const uint64_t value : totals) total += value;
  return total;
}

// GB/s of reading `bytes` in all, each thread its own part again and again.
double read_bandwidth(int n_threads, size_t bytes) {
  const size_t count = bytes / sizeof(uint64_t) / static_cast<size_t>(n_threads);
  std::vector<std::unique_ptr<uint64_t[]>> parts;
  for (int thread = 0; thread < n_threads; ++thread) {
    parts.emplace_back(new uint64_t[count]);
    std::fill_n(parts.back().get(), count, uint64_t{1});
  }
  // Small buffers are read several times in one burst, so that starting does not count.
  const size_t passes = std::max<size_t>(1, (size_t{64} << 20) / bytes);
  const double seconds = best_seconds(n_threads, [&](int thread) {
    for (size_t pass = 0; pass < passes; ++pass)
      g_sink = sum(parts[static_cast<size_t>(thread)].get(), count);
  });
  return static_cast<double>(passes * count * sizeof(uint64_t)) * n_threads / seconds / 1e9;
}

struct Peak {
  const char* name;
  double operations;  // of one round
  bool supported;
  void (*rounds)(int64_t);
};

#if defined(__x86_64__)
// Named accumulators stay in registers, which an array would not; the empty asm keeps a step from being
// folded away.
#define KEEP(x) asm volatile("" : "+v"(x))
#define STEP(step, t) \
  t = step(t, a, b);  \
  KEEP(t)
#define TWELVE_STEPS(step) \
  STEP(step, t0);          \
  STEP(step, t1);          \
  STEP(step, t2);          \
  STEP(step, t3);          \
  STEP(step, t4);          \
  STEP(step, t5);          \
  STEP(step, t6);          \
  STEP(step, t7);          \
  STEP(step, t8);          \
  STEP(step, t9);          \
  STEP(step, t10);         \
  STEP(step, t11);
// Twelve are more than latency times throughput of every x86 so far, and leave room in sixteen registers.
#define PEAK_LOOP(target_name, type, zero, step)                                                     \
  __attribute__((target(target_name))) void step##_rounds(int64_t count) {                           \
    type t0 = zero, t1 = t0, t2 = t0, t3 = t0, t4 = t0, t5 = t0, t6 = t0, t7 = t0, t8 = t0, t9 = t0; \
    type t10 = t0, t11 = t0, a = t0, b = t0;                                                         \
    KEEP(a);                                                                                         \
    KEEP(b);                                                                                         \
    for (int64_t i = 0; i < count; ++i) {                                                            \
      TWELVE_STEPS(step)                                                                             \
    }                                                                                                \
  }

__attribute__((target("avx2,fma"), always_inline)) inline __m256 fma_avx2(__m256 t, __m256 a, __m256 b) {
  return _mm256_fmadd_ps(a, b, t);
}
__attribute__((target("avx512f"), always_inline)) inline __m512 fma_avx512(__m512 t, __m512 a, __m512 b) {
  return _mm512_fmadd_ps(a, b, t);
}
__attribute__((target("avx512f,avx512bf16"), always_inline)) inline __m512 bf16_avx512(__m512 t, __m512 a,
                                                                                       __m512 b) {
  return _mm512_dpbf16_ps(t, reinterpret_cast<__m512bh&>(a), reinterpret_cast<__m512bh&>(b));
}
__attribute__((target("avx2"), always_inline)) inline __m256i int8_avx2(__m256i t, __m256i a, __m256i b) {
  KEEP(a);  // the products differ in each step, else they would be computed once
  return _mm256_add_epi32(t, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), b));
}
__attribute__((target("avxvnni"), always_inline)) inline __m256i int8_avxvnni(__m256i t, __m256i a,
                                                                              __m256i b) {
  return _mm256_dpbusd_avx_epi32(t, a, b);
}
__attribute__((target("avx512f,avx512vnni"), always_inline)) inline __m512i int8_avx512vnni(__m512i t,
                                                                                            __m512i a,
                                                                                            __m512i b) {
  return _mm512_dpbusd_epi32(t, a, b);
}

PEAK_LOOP("avx2,fma", __m256, _mm256_setzero_ps(), fma_avx2)
PEAK_LOOP("avx512f", __m512, _mm512_setzero_ps(), fma_avx512)
PEAK_LOOP("avx512f,avx512bf16", __m512, _mm512_setzero_ps(), bf16_avx512)
PEAK_LOOP("avx2", __m256i, _mm256_setzero_si256(), int8_avx2)
PEAK_LOOP("avxvnni", __m256i, _mm256_setzero_si256(), int8_avxvnni)
PEAK_LOOP("avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), int8_avx512vnni)

bool has_avx_vnni() {
  // Not a name that __builtin_cpu_supports of gcc 12 knows: leaf 7.1, eax bit 4.
  uint32_t eax = 7, ebx = 0, ecx = 1, edx = 0;
  asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return __builtin_cpu_supports("avx2") != 0 && (eax >> 4 & 1) != 0;
}

std::vector<Peak> peaks() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
  return {
      {"f32_avx2", 12 * 8 * 2, avx2, fma_avx2_rounds},
      {"f32_avx512", 12 * 16 * 2, avx512, fma_avx512_rounds},
      {"bf16_avx512", 12 * 32 * 2, avx512 && __builtin_cpu_supports("avx512bf16") != 0, bf16_avx512_rounds},
      {"int8_avx2", 12 * 32 * 2, avx2, int8_avx2_rounds},
      {"int8_avxvnni", 12 * 32 * 2, has_avx_vnni(), int8_avxvnni_rounds},
      {"int8_avx512vnni", 12 * 64 * 2, avx512 && __builtin_cpu_supports("avx512vnni") != 0,
       int8_avx512vnni_rounds}};
}
#else
std::vector<Peak> peaks() {
  return {};
}
#endif

// Operations per second of all threads together, in 10^9.
double measure(const Peak& peak, int n_threads, double burst_seconds) {
  int64_t rounds = 1000;
  for (;;) {
    const auto start = Clock::now();
    peak.rounds(rounds);
    const double seconds = seconds_since(start);
    if (seconds > burst_seconds / 2) {
      rounds =
          std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(rounds) * burst_seconds / seconds));
      break;
    }
    rounds *= 2;
  }
  const double seconds = best_seconds(n_threads, [&](int) { peak.rounds(rounds); });
  return peak.operations * static_cast<double>(rounds) * n_threads / seconds / 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  const int n_threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const double burst = (argc > 2 ? std::atof(argv[2]) : 5) / 1e3;
  if (n_threads < 1 || n_threads > 1024 || !(burst > 0)) {
    std::fprintf(stderr, "usage: limits THREADS [MILLISECONDS]\n");
    return 2;
  }
  std::printf("{\"threads\": %d, \"gops\": {", n_threads);
  const char* separator = "";
  for (const Peak& peak : peaks()) {
    if (!peak.supported) continue;
    std::printf("%s\"%s\": %.1f", separator, peak.name, measure(peak, n_threads, burst));
    separator = ", ";
  }
  std::printf("}, \"read_gbps\": {");
  separator = "";
  try {
    for (const size_t mebibytes : {1, 8, 16, 32, 64, 128, 256, 512, 1024}) {
      std::printf("%s\"%zu\": %.1f", separator, mebibytes, read_bandwidth(n_threads, mebibytes << 20));
      separator = ", ";
    }
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "limits: not enough memory for the largest buffers, they are left out\n");
  }
  std::printf("}}\n");
  return 0;
}
