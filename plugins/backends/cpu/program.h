// A compiled graph: one call a node, in the graph's order, in regions.
#pragma once

#include <vector>

#include "ops/op.h"
#include "regions.h"

struct llmh_program {
  const llmh_instance* instance = nullptr;
  std::vector<llmhost::cpu::StateSlot> states;  // calls point into it: not resized after compile
  std::vector<llmhost::cpu::Call> calls;        // regions point into it
  std::vector<llmhost::cpu::Region> regions;
  llmh_limits limits{};
  bool reads_labels = false;
  uint8_t* scratch = nullptr;
  llmhost::cpu::ScratchNeed scratch_need;
  std::vector<uint64_t> checked_adapters;  // that fit the calls; by id, the newest of each place
};

namespace llmhost::cpu {

bool supports_node(const llmh_graph& graph, uint32_t node);

// Scratch of all threads, then what ops share. Throws when sizes overflow.
uint64_t program_scratch_bytes(const llmh_instance& instance, const llmh_graph& graph,
                               const llmh_limits& limits);

// Throws llmh::Error with the node's path and op for anything that does not fit together.
void compile_program(const llmh_instance& instance, const llmh_compile_args& args, llmh_program& program);

// Throws llmh::Error; LLMH_CANCELLED when the call asks for it.
void run_program(llmh_program& program, const llmh_step& step, const llmh_call* call);

}  // namespace llmhost::cpu
