#include "model/base_fingerprint.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"

namespace llmhost::model {
namespace {

constexpr size_t kSample = size_t{16} << 10;  // bytes at the begin, in the middle and at the end
constexpr size_t kAround = size_t{64} << 10;  // that the system may map beside a page that is read

// Weights that are held otherwise than in the file are not to come back for good.
void drop_around(std::span<const std::byte> bytes, size_t begin, size_t n) {
  const size_t first = begin - std::min(begin, kAround);
  drop_mapped(bytes.subspan(first, std::min(bytes.size(), begin + n + kAround) - first));
}

}  // namespace

std::string base_fingerprint(const LoadedModel& model) {
  Sha256 sum;
  sum.add(model.checkpoint().config().dump(-1, ' ', false, Json::error_handler_t::replace));
  for (const CheckpointTensor& tensor : model.checkpoint().tensors()) {
    sum.add(fmt::format("\n{} {} [{}] {}", tensor.name, tensor.stored_type, fmt::join(tensor.shape, ","),
                        tensor.stored_bytes()));
    const std::span<const std::byte> bytes = tensor.bytes;
    const size_t n = std::min(kSample, bytes.size());
    for (const size_t begin : {size_t{0}, (bytes.size() - n) / 2, bytes.size() - n}) {
      sum.add(bytes.subspan(begin, n));
      drop_around(bytes, begin, n);
    }
  }
  return to_hex(sum.digest());
}

}  // namespace llmhost::model
