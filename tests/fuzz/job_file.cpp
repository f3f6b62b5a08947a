// Job files of fine-tuning.
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "train/job.h"

namespace train = llmhost::train;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    train::parse_job(text, "job.yaml", "/jobs", llmhost::Settings(train::job_schema())).job.hash();
  } catch (const llmhost::Error&) {
  }
  return 0;
}
