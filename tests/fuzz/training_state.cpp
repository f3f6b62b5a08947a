// state.json of a checkpoint: what is read is written again, and read as the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "train/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace llmhost::train;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const CheckpointState state = parse_checkpoint_state(text, "state.json");
    const CheckpointState again = parse_checkpoint_state(to_text(state), "again");
    if (again.step != state.step || again.updates != state.updates || again.job != state.job) std::abort();
    check_same_run(state, again);
  } catch (const llmhost::Error&) {
  }
  return 0;
}
