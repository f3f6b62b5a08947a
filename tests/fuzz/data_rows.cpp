// Files of training data: the first byte says which kind, the rest is the file. What is taken must hold together.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "train/rows.h"
#include "train/sample.h"

namespace train = llmhost::train;

namespace {

void check(const train::Row& row) {
  const train::DataFormat format = train::recognise(row.fields);
  if (format == train::DataFormat::kAuto) return;
  const train::Sample sample = train::read_sample(row, format);
  if (sample.messages.size() != sample.is_learnt.size()) std::abort();
  if (sample.ids.size() != sample.labels.size()) std::abort();
  for (const auto& message : sample.messages)
    if (!message["role"].is_string() || !message["content"].is_string()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto kind = static_cast<train::FileKind>(data[0] % 5U);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    train::read_rows(bytes, kind, "data", check);
  } catch (const llmhost::Error&) {
  }
  return 0;
}
