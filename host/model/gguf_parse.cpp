#include "model/gguf_parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "model/checkpoint_text.h"

namespace llmhost::model {
namespace {

static_assert(std::endian::native == std::endian::little, "views of GGUF data need a little-endian machine");

constexpr uint64_t kMaxNameBytes = 65535;  // the format's own limit for keys
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint64_t kDefaultAlignment = 32;
constexpr int kMaxArrayDepth = 4;
// The least that one entry occupies: bounds the counts before anything is reserved.
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 1 + 4 + 4 + 8;
constexpr uint64_t kArrayHeaderBytes = 4 + 8;

}  // namespace

template <typename... Args>
void GgufParser::fail(std::string_view field, std::string_view format, const Args&... args) const {
  const std::string what = fmt::vformat(format, fmt::make_format_args(args...));
  if (subject_.empty()) throw_invalid("{}: {} (byte {}): {}", file_, field, position_, what);
  throw_invalid("{}: {} of '{}' (byte {}): {}", file_, field, printable(subject_), position_, what);
}

const std::byte* GgufParser::take(uint64_t size, std::string_view field) {
  if (size > left())
    fail(field, "needs {} bytes, but only {} are left in the file; it is cut short or damaged", size, left());
  const std::byte* data = bytes_.data() + position_;
  position_ += size;
  return data;
}

template <typename T>
T GgufParser::read(std::string_view field) {
  T value;
  std::memcpy(&value, take(sizeof value, field), sizeof value);
  return value;
}

std::string_view GgufParser::read_string(std::string_view field, uint64_t max_bytes) {
  const auto size = read<uint64_t>(field);
  if (size > max_bytes) fail(field, "length {} is over the limit of {}", size, max_bytes);
  return {reinterpret_cast<const char*>(take(size, field)), static_cast<size_t>(size)};
}

GgufPart GgufParser::parse() {
  read_header();
  read_metadata();
  read_alignment();
  read_tensor_infos();
  place_tensors();
  return std::move(part_);
}

void GgufParser::read_header() {
  const std::byte* magic = take(4, "magic");
  if (std::memcmp(magic, "GGUF", 4) != 0) {
    position_ = 0;
    fail("magic", "not a GGUF file: it begins with '{}'",
         printable({reinterpret_cast<const char*>(magic), 4}));
  }
  part_.version = read<uint32_t>("version");
  if (part_.version != 0 && (part_.version & 0xFFFF) == 0)
    fail("version", "a big-endian GGUF file; convert it to little-endian first");
  if (part_.version == 1)
    fail("version", "GGUF version 1 is not supported; convert the model again to version 3");
  if (part_.version != 2 && part_.version != 3)
    fail("version", "GGUF version {} is not known; versions 2 and 3 are read", part_.version);
  tensor_count_ = read<uint64_t>("tensor_count");
  metadata_count_ = read<uint64_t>("metadata_kv_count");
  if (metadata_count_ > left() / kMinMetadataBytes)
    fail("metadata_kv_count", "{} entries do not fit into the {} bytes left", metadata_count_, left());
  if (tensor_count_ > left() / kMinTensorInfoBytes)
    fail("tensor_count", "{} tensors do not fit into the {} bytes left", tensor_count_, left());
}

void GgufParser::read_metadata() {
  part_.metadata.reserve(metadata_count_);
  for (uint64_t i = 0; i < metadata_count_; ++i) {
    subject_ = {};
    const std::string_view key = read_string("metadata key", kMaxNameBytes);
    if (key.empty()) fail("metadata key", "entry {} has an empty key", i);
    subject_ = key;
    part_.metadata.push_back(read_value(key));
  }
  subject_ = {};
}

GgufValue GgufParser::read_value(std::string_view key) {
  GgufValue value;
  value.type_ = static_cast<GgufType>(read<uint32_t>("value type"));
  GgufArray& array = value.array_;
  array.file_ = file_;
  array.key_ = key;
  array.element_type_ = value.type_;
  array.count_ = 1;
  if (value.type_ == GgufType::kArray) {
    array.element_type_ = static_cast<GgufType>(read<uint32_t>("array element type"));
    array.count_ = read<uint64_t>("array length");
  }
  const uint64_t begin = position_;
  skip_elements(array.element_type_, array.count_, 1);
  array.data_ = bytes_.data() + begin;
  array.bytes_ = position_ - begin;
  return value;
}

void GgufParser::skip_elements(GgufType type, uint64_t count, int depth) {
  const auto check_fits = [&](uint64_t element_bytes) {
    if (count > left() / element_bytes)
      fail("array length", "{} elements do not fit into the {} bytes left", count, left());
  };
  if (type == GgufType::kString) {
    check_fits(sizeof(uint64_t));
    for (uint64_t i = 0; i < count; ++i) read_string("string", std::numeric_limits<uint64_t>::max());
  } else if (type == GgufType::kArray) {
    if (depth >= kMaxArrayDepth) fail("value", "arrays are nested deeper than {} levels", kMaxArrayDepth);
    check_fits(kArrayHeaderBytes);
    for (uint64_t i = 0; i < count; ++i) {
      const auto element_type = static_cast<GgufType>(read<uint32_t>("array element type"));
      skip_elements(element_type, read<uint64_t>("array length"), depth + 1);
    }
  } else {
    const size_t size = gguf_type_size(type);
    if (size == 0) fail("value type", "type {} is not known", static_cast<uint32_t>(type));
    check_fits(size);
    if (type == GgufType::kBool) return skip_bools(count);
    take(count * size, "value");
  }
}

void GgufParser::skip_bools(uint64_t count) {
  const std::byte* data = take(count, "value");
  const bool valid = std::all_of(data, data + count, [](std::byte b) { return b <= std::byte{1}; });
  if (!valid) fail("value", "a bool is neither 0 nor 1");
}

void GgufParser::read_alignment() {
  constexpr std::string_view kKey = "general.alignment";
  part_.alignment = kDefaultAlignment;
  const auto found = std::find_if(part_.metadata.begin(), part_.metadata.end(),
                                  [&](const GgufValue& value) { return value.key() == kKey; });
  if (found == part_.metadata.end()) return;
  part_.alignment = found->as_u64();
  if (!std::has_single_bit(part_.alignment) || part_.alignment > kMaxAlignment)
    fail(kKey, "{} is not a power of two up to {}", part_.alignment, kMaxAlignment);
}

void GgufParser::read_tensor_infos() {
  part_.tensors.reserve(tensor_count_);
  offsets_.reserve(tensor_count_);
  for (uint64_t i = 0; i < tensor_count_; ++i) {
    subject_ = {};
    GgufTensor tensor;
    tensor.file = file_;
    tensor.name = read_string("tensor name", kMaxNameBytes);
    if (tensor.name.empty()) fail("tensor name", "tensor {} has an empty name", i);
    subject_ = tensor.name;
    read_dims(tensor);
    tensor.ggml_type = read<uint32_t>("type");
    tensor.dtype = gguf_dtype(tensor.ggml_type);
    offsets_.push_back(read<uint64_t>("offset"));
    part_.tensors.push_back(tensor);
  }
  subject_ = {};
}

void GgufParser::read_dims(GgufTensor& tensor) {
  tensor.dim_count = read<uint32_t>("dimension count");
  if (tensor.dim_count > tensor.dim_values.size())
    fail("dimension count", "{} dimensions, at most {} are allowed", tensor.dim_count,
         tensor.dim_values.size());
  uint64_t elements = 1;
  for (uint32_t d = 0; d < tensor.dim_count; ++d) {
    const auto dim = read<uint64_t>("dimensions");
    tensor.dim_values[d] = dim;
    if (dim == 0) fail("dimensions", "dimension {} is 0", d);
    if (__builtin_mul_overflow(elements, dim, &elements) || elements > std::numeric_limits<int64_t>::max())
      fail("dimensions", "the number of elements overflows at dimension {} = {}", d, dim);
  }
}

void GgufParser::place_tensors() {
  const uint64_t misaligned = position_ % part_.alignment;
  const uint64_t padding = misaligned == 0 ? 0 : part_.alignment - misaligned;
  const std::span<const std::byte> data = bytes_.subspan(position_ + std::min(padding, left()));
  position_ = bytes_.size() - data.size();
  for (size_t i = 0; i < part_.tensors.size(); ++i) {
    subject_ = part_.tensors[i].name;
    place(part_.tensors[i], offsets_[i], data);
  }
}

void GgufParser::place(GgufTensor& tensor, uint64_t offset, std::span<const std::byte> data) {
  if (offset % part_.alignment != 0)
    fail("offset", "{} is not a multiple of the alignment {}", offset, part_.alignment);
  if (offset > data.size())
    fail("offset", "{} is outside the {} bytes of tensor data; the file is cut short or damaged", offset,
         data.size());
  tensor.begin = data.data() + offset;
  if (tensor.dtype == LLMH_DTYPE_INVALID) return;
  const llmh_dtype_layout layout = llmh_dtype_layout_of(tensor.dtype);
  const uint64_t row = tensor.dim_count == 0 ? 1 : tensor.dim_values[0];
  if (row % layout.block_elements != 0)
    fail("dimensions", "rows of {} are not whole {} blocks of {}", row, layout.name, layout.block_elements);
  const uint64_t blocks = tensor.element_count() / layout.block_elements;
  if (__builtin_mul_overflow(blocks, uint64_t{layout.block_bytes}, &tensor.size_bytes) ||
      tensor.size_bytes > data.size() - offset)
    fail("offset",
         "{} blocks of {} bytes at {} reach past the {} bytes of tensor data; the file is cut short or "
         "damaged",
         blocks, layout.block_bytes, offset, data.size());
}

}  // namespace llmhost::model
