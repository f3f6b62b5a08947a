#include "core/cpus.h"

#include <fmt/core.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <thread>

namespace llmhost {
namespace {

constexpr int32_t kMostCpus = 4096;
constexpr int32_t kMostNodes = 256;

// A set of up to kMostCpus processors.
class CpuSet {
 public:
  CpuSet() { CPU_ZERO_S(sizeof(words_), set()); }
  bool read() { return sched_getaffinity(0, sizeof(words_), set()) == 0; }
  bool apply() const { return sched_setaffinity(0, sizeof(words_), set()) == 0; }
  bool has(int32_t cpu) const { return CPU_ISSET_S(static_cast<size_t>(cpu), sizeof(words_), set()); }
  void add(int32_t cpu) { CPU_SET_S(static_cast<size_t>(cpu), sizeof(words_), set()); }
  void remove(int32_t cpu) { CPU_CLR_S(static_cast<size_t>(cpu), sizeof(words_), set()); }

 private:
  cpu_set_t* set() { return words_; }
  const cpu_set_t* set() const { return words_; }

  cpu_set_t words_[kMostCpus / CPU_SETSIZE];
};

bool is_number(int32_t cpu) {
  return cpu >= 0 && cpu < kMostCpus;
}

}  // namespace

std::vector<int32_t> available_cpus() {
  CpuSet set;
  std::vector<int32_t> cpus;
  if (!set.read()) return cpus;
  for (int32_t cpu = 0; cpu < kMostCpus; ++cpu)
    if (set.has(cpu)) cpus.push_back(cpu);
  return cpus;
}

int32_t available_cores() {
  const size_t allowed = available_cpus().size();
  if (allowed > 0) return static_cast<int32_t>(allowed);
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

std::vector<int32_t> nodes_of(const std::vector<int32_t>& cpus) {
  std::vector<int32_t> nodes(cpus.size(), 0);
  std::error_code error;
  for (int32_t node = 0; node < kMostNodes; ++node) {
    const std::filesystem::path folder = fmt::format("/sys/devices/system/node/node{}", node);
    if (!std::filesystem::exists(folder, error)) continue;
    for (size_t i = 0; i < cpus.size(); ++i)
      if (std::filesystem::exists(folder / fmt::format("cpu{}", cpus[i]), error)) nodes[i] = node;
  }
  return nodes;
}

bool pin_thread(int32_t cpu) {
  CpuSet set;
  if (!is_number(cpu)) return false;
  set.add(cpu);
  return set.apply();
}

bool join_cpu(int32_t cpu) {
  CpuSet all;
  if (!is_number(cpu) || !all.read() || !all.has(cpu)) return false;
  CpuSet one;
  one.add(cpu);
  return one.apply() && all.apply();
}

bool leave_cpu(int32_t cpu) {
  CpuSet all;
  if (!is_number(cpu) || !all.read()) return false;
  CpuSet others = all;
  others.remove(cpu);
  return others.apply() && all.apply();
}

}  // namespace llmhost
