#include "ops/routing.h"

#include <algorithm>
#include <string>

namespace llmhost::cpu {

void check_experts(const Call& call, const int32_t* ids, int64_t rows, int64_t experts) {
  for (int64_t i = 0; i < rows; ++i)
    if (ids[i] < 0 || ids[i] >= experts)
      throw llmh::Error(LLMH_OUT_OF_RANGE, "[cpu] " + std::string(llmh::view(call.node->path)) + ": expert " +
                                               std::to_string(ids[i]) + " at index " + std::to_string(i) +
                                               " is outside the " + std::to_string(experts) + " experts");
}

Routing route(uint8_t* memory, const int32_t* ids, int64_t rows, int64_t experts, int64_t rows_per_x) {
  Routing routing(memory, experts, rows);
  std::fill_n(routing.begin, experts + 1, 0);
  for (int64_t i = 0; i < rows; ++i) ++routing.begin[ids[i]];
  int32_t next = 0;
  for (int64_t e = 0; e < experts; ++e) {
    if (routing.begin[e] > 0) routing.active[routing.n_active++] = static_cast<int32_t>(e);
    const int32_t count = routing.begin[e];
    routing.begin[e] = next;
    next += count;
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t at = routing.begin[ids[i]]++;
    routing.y_rows[at] = static_cast<int32_t>(i);
    routing.x_rows[at] = static_cast<int32_t>(i / rows_per_x);
  }
  // Each begin has moved to its end, which is the next one's begin.
  std::copy_backward(routing.begin, routing.begin + experts, routing.begin + experts + 1);
  routing.begin[0] = 0;
  return routing;
}

}  // namespace llmhost::cpu
