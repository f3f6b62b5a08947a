// Which instruction set the kernels of an instance use.
#define HWY_WANT_AVX3_DL
#include <mutex>
#include <string>

#include "hwy/highway.h"
#include "instance.h"
#include "llmhost/plugin.hpp"

namespace llmhost::cpu {
namespace {

struct Isa {
  const char* name;
  int64_t target;
};

constexpr Isa kIsas[] = {
    {"avx3_dl", HWY_AVX3_DL}, {"avx3", HWY_AVX3},     {"avx2", HWY_AVX2},     {"sse4", HWY_SSE4},
    {"neon", HWY_NEON},       {"emu128", HWY_EMU128}, {"scalar", HWY_SCALAR},
};

// With one target in all nothing is dispatched, and nothing of the library is linked.
constexpr bool kHasChoice = (HWY_TARGETS & (HWY_TARGETS - 1)) != 0;

// The kernels were compiled for HWY_TARGETS; the machine may not run all of them.
int64_t usable_targets() {
  if constexpr (kHasChoice) {
    return hwy::SupportedTargets() & HWY_TARGETS;
  } else {
    return HWY_TARGETS;
  }
}

// 0: the best. The library's choice is global.
void choose_target([[maybe_unused]] int64_t forced) {
  if constexpr (kHasChoice) {
    hwy::SetSupportedTargetsForTest(forced);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

std::string usable_names() {
  std::string names = "auto";
  for (const Isa& isa : kIsas)
    if ((usable_targets() & isa.target) != 0) names += std::string(", ") + isa.name;
  return names;
}

Kernels kernels_for_chosen_target() {
  const int64_t targets = usable_targets();
  Kernels k;
  k.isa = hwy::TargetName(targets & -targets);  // the lowest bit is the best
  k.decode = decode_kernels();
  k.linear = linear_kernels();
  k.dense = dense_kernels();
  k.gemm = gemm_kernels();
  if (k.dense.bf16_native == nullptr) k.gemm.bf16 = nullptr;
  k.low_rank = low_rank_kernels();
  k.attention = attention_kernels();
  k.train_attention = train_attention_kernels();
  k.state = state_kernels();
  k.norm = norm_kernels();
  k.loss = loss_kernels();
  k.elementwise = elementwise_kernels();
  k.gradient = gradient_kernels();
  k.rope = rope_kernels();
  k.packed = packed_kernels();
  return k;
}

}  // namespace

Kernels choose_kernels(const char* isa) {
  static std::mutex mutex;  // tables are copied out of the library's choice
  const std::lock_guard lock(mutex);
  const std::string name = isa;
  int64_t forced = 0;
  if (!name.empty() && name != "auto") {
    for (const Isa& known : kIsas)
      if (name == known.name) forced = known.target;
    if ((forced & usable_targets()) == 0)
      throw llmh::Error(
          LLMH_INVALID_ARGUMENT,
          "[cpu] option isa: '" + name + "' is not usable on this machine; known: " + usable_names());
  }
  // Kernels without code for that one use what it extends.
  if (forced == HWY_AVX3_DL) forced |= HWY_AVX3;
  choose_target(forced);
  const Kernels kernels = kernels_for_chosen_target();
  choose_target(0);
  return kernels;
}

}  // namespace llmhost::cpu
