// The processors that this process may use.
#pragma once

#include <cstdint>
#include <vector>

namespace llmhost {

// How many the calling thread may run on (its affinity mask), at least 1.
int32_t available_cores();

// Their numbers, ascending; empty when the system does not say.
std::vector<int32_t> available_cpus();

// Memory node of each, from /sys; 0 where the system does not say.
std::vector<int32_t> nodes_of(const std::vector<int32_t>& cpus);

// Keeps the calling thread on one processor; false when the system refuses.
bool pin_thread(int32_t cpu);

// Moves the calling thread to this one of its processors, all of which stay open to it; false when the system
// refuses.
bool join_cpu(int32_t cpu);

// Moves the calling thread to another of its processors, all of which stay open to it; false when it has
// none.
bool leave_cpu(int32_t cpu);

}  // namespace llmhost
