#include "model/base_fingerprint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"

namespace llmhost::model {
namespace {

constexpr size_t kSample = size_t{16} << 10;  // bytes at the begin, in the middle and at the end
constexpr size_t kDropped = 32;               // tensors that are let go together

// With each page the system maps its neighbours: of weights that are held otherwise none is to come back for
// good, others come back when they are used.
void drop_all(std::span<const CheckpointTensor> tensors) {
  for (const CheckpointTensor& tensor : tensors) drop_mapped(tensor.bytes);
}

}  // namespace

std::string base_fingerprint(const LoadedModel& model) {
  const std::span<const CheckpointTensor> tensors = model.checkpoint().tensors();
  Sha256 sum;
  sum.add(model.checkpoint().config().dump(-1, ' ', false, Json::error_handler_t::replace));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const CheckpointTensor& tensor = tensors[i];
    sum.add(fmt::format("\n{} {} [{}] {}", tensor.name, tensor.stored_type, fmt::join(tensor.shape, ","),
                        tensor.stored_bytes()));
    const std::span<const std::byte> bytes = tensor.bytes;
    const size_t n = std::min(kSample, bytes.size());
    for (const size_t begin : {size_t{0}, (bytes.size() - n) / 2, bytes.size() - n})
      sum.add(bytes.subspan(begin, n));
    if (i % kDropped == kDropped - 1) drop_all(tensors);
  }
  drop_all(tensors);
  return to_hex(sum.digest());
}

}  // namespace llmhost::model
