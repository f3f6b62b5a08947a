// Calls a fuzz target with every file of a folder and holds it to what a hostile file may cost: a second, and
// 64 MiB when the file has less than 1 MiB. A crash or a hang names the file first.
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "model/allocation_count.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#ifdef __OPTIMIZE__
constexpr bool kOptimized = true;
#else
constexpr bool kOptimized = false;
#endif

// Of the processor's time, so that a busy machine changes nothing; sanitizers and debug builds are slower.
constexpr double kMaxSeconds = kSanitized || !kOptimized ? 30 : 1;
constexpr size_t kSmallFile = size_t{1} << 20;
constexpr size_t kMaxAllocated = size_t{64} << 20;
constexpr rlim_t kAddressSpace = rlim_t{1} << 30;  // what malloc takes past operator new ends here

const char* g_current = "";

// Only what a signal handler may call.
void report_signal(int number) {
  const char* reason = number == SIGPROF ? "takes too long" : "crashes";
  for (const char* part : {"corpus: ", g_current, ": ", reason, "\n"})
    if (write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
  if (number == SIGPROF) _exit(1);
  signal(number, SIG_DFL);
  raise(number);
}

void arm_limits() {
  static char stack[1 << 16];  // of its own: the usual one may be what a deep file has used up
  stack_t signal_stack{};
  signal_stack.ss_sp = stack;
  signal_stack.ss_size = sizeof(stack);
  sigaltstack(&signal_stack, nullptr);
  struct sigaction action {};
  action.sa_handler = report_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int number : {SIGPROF, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
    sigaction(number, &action, nullptr);
  if (kSanitized) return;  // they reserve address space by terabytes
  const rlimit limit{kAddressSpace, kAddressSpace};
  setrlimit(RLIMIT_AS, &limit);
}

// SIGPROF comes well after the limit: a file that is only slow is measured and the rest still runs.
void arm_timer(double seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(seconds);
  setitimer(ITIMER_PROF, &timer, nullptr);
}

std::vector<uint8_t> read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

double cpu_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

bool run_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  const std::vector<uint8_t> bytes = read_bytes(path);
  g_current = name.c_str();
  llmhost::test::reset_peak_allocated();
  arm_timer(10 * kMaxSeconds);
  const double start = cpu_seconds();
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  const double seconds = cpu_seconds() - start;
  arm_timer(0);
  const size_t allocated = llmhost::test::peak_allocated();
  g_current = "";
  if (seconds > kMaxSeconds)
    std::fprintf(stderr, "corpus: %s: %.2f s, at most %.0f are allowed\n", name.c_str(), seconds,
                 kMaxSeconds);
  const bool too_much = bytes.size() < kSmallFile && allocated > kMaxAllocated;
  if (too_much)
    std::fprintf(stderr, "corpus: %s: %zu bytes of memory for a file of %zu\n", name.c_str(), allocated,
                 bytes.size());
  return seconds <= kMaxSeconds && !too_much;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1], error))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "corpus: %s: no seeds\n", argv[1]);
    return 1;
  }
  arm_limits();
  const auto refused =
      std::count_if(files.begin(), files.end(), [](const auto& file) { return !run_file(file); });
  std::printf("%zu files of %s, %td beyond the limits\n", files.size(), argv[1], refused);
  return refused == 0 ? 0 : 1;
}
