#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/checkpoint_text.h"

namespace llmhost::model {
namespace {

static_assert(std::endian::native == std::endian::little,
              "views of safetensors data need a little-endian machine");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr int kMaxHeaderDepth = 8;

struct DtypeName {
  std::string_view name;
  llmh_dtype dtype;
};
constexpr std::array<DtypeName, 10> kDtypeNames = {{{"F64", LLMH_DTYPE_F64},
                                                    {"F32", LLMH_DTYPE_F32},
                                                    {"F16", LLMH_DTYPE_F16},
                                                    {"BF16", LLMH_DTYPE_BF16},
                                                    {"I64", LLMH_DTYPE_I64},
                                                    {"I32", LLMH_DTYPE_I32},
                                                    {"I16", LLMH_DTYPE_I16},
                                                    {"I8", LLMH_DTYPE_I8},
                                                    {"U8", LLMH_DTYPE_U8},
                                                    {"BOOL", LLMH_DTYPE_BOOL}}};

// One member of a tensor's entry, or an error that names the tensor and the member.
class EntryReader {
 public:
  EntryReader(std::string_view file, std::string_view tensor, const Json& entry)
      : file_(file), tensor_(tensor), entry_(entry) {
    if (!entry.is_object()) fail("entry", "is not an object");
  }

  template <typename... Args>
  [[noreturn]] void fail(std::string_view member, fmt::format_string<Args...> format, Args&&... args) const {
    throw_invalid("{}: tensor '{}': {} {}", file_, printable(tensor_), member,
                  fmt::format(format, std::forward<Args>(args)...));
  }

  const Json& member(const char* name) const {
    const auto found = entry_.find(name);
    if (found == entry_.end()) fail(name, "is missing");
    return *found;
  }

  std::string dtype() const {
    const Json& value = member("dtype");
    if (!value.is_string()) fail("dtype", "is not a string");
    return value.get<std::string>();
  }

  std::vector<int64_t> shape() const {
    const Json& value = member("shape");
    if (!value.is_array()) fail("shape", "is not an array");
    std::vector<int64_t> result;
    result.reserve(value.size());
    for (const Json& dim : value) {
      if (!dim.is_number_unsigned() || dim.get<uint64_t>() > std::numeric_limits<int64_t>::max())
        fail("shape", "has an element that is no integer from 0 to 2^63 - 1");
      result.push_back(static_cast<int64_t>(dim.get<uint64_t>()));
    }
    return result;
  }

  std::pair<uint64_t, uint64_t> data_offsets(uint64_t data_bytes) const {
    const Json& value = member("data_offsets");
    if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
        !value[1].is_number_unsigned())
      fail("data_offsets", "are not two integers >= 0");
    const auto begin = value[0].get<uint64_t>();
    const auto end = value[1].get<uint64_t>();
    if (begin > end || end > data_bytes)
      fail("data_offsets",
           "[{}, {}] are not a range within the {} bytes of data; the file is cut short or damaged", begin,
           end, data_bytes);
    return {begin, end};
  }

 private:
  std::string_view file_;
  std::string_view tensor_;
  const Json& entry_;
};

void check_size(const EntryReader& reader, const SafetensorsTensor& tensor) {
  if (tensor.dtype == LLMH_DTYPE_INVALID) return;
  uint64_t bytes = llmh_dtype_layout_of(tensor.dtype).block_bytes;
  bool overflow = false;
  for (const int64_t dim : tensor.shape)
    overflow = __builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes) || overflow;
  if (overflow) reader.fail("shape", "overflows the number of bytes");
  if (bytes != tensor.size_bytes)
    reader.fail("data_offsets", "span {} bytes, but {} elements of its shape need {}", tensor.size_bytes,
                tensor.dtype_name, bytes);
}

std::map<std::string, std::string> read_string_map(const Json& value, std::string_view file) {
  std::map<std::string, std::string> result;
  if (value.is_null()) return result;
  if (!value.is_object()) throw_invalid("{}: __metadata__ is not an object", file);
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) throw_invalid("{}: __metadata__ '{}' is not a string", file, printable(key));
    result.emplace(key, text.get<std::string>());
  }
  return result;
}

// Tensors in the order of their data; they must follow one another without gaps up to the end of the file.
void check_coverage(const std::vector<SafetensorsTensor>& tensors, std::span<const std::byte> data,
                    std::string_view file) {
  uint64_t covered = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    const auto begin = static_cast<uint64_t>(tensor.begin - data.data());
    if (begin != covered)
      throw_invalid("{}: tensor '{}': data_offsets begin at {}, but the data before end at {}: {}", file,
                    printable(tensor.name), begin, covered,
                    begin < covered ? "tensors overlap" : "there is a hole");
    covered = begin + tensor.size_bytes;
  }
  if (covered != data.size())
    throw_invalid("{}: {} bytes follow the last tensor; the header does not belong to the data", file,
                  data.size() - covered);
}

std::string_view read_header(std::span<const std::byte> bytes, std::string_view file) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length)
    throw_invalid("{}: header length: needs 8 bytes, the file has {}; it is not a safetensors file", file,
                  bytes.size());
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxHeaderBytes || length > bytes.size() - sizeof length)
    throw_invalid(
        "{}: header length {} is over the {} bytes of the file; it is cut short or no safetensors file", file,
        length, std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - sizeof length));
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  if (!header.starts_with('{'))
    throw_invalid("{}: header: does not begin with '{{'; it is not a safetensors file", file);
  return header;
}

}  // namespace

struct SafetensorsFile::State {
  MappedFile mapping;
  std::string name;
  uint64_t file_bytes = 0;
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsTensor> tensors;
  std::vector<uint32_t> by_name;

  void parse(std::span<const std::byte> bytes);
};

void SafetensorsFile::State::parse(std::span<const std::byte> bytes) {
  file_bytes = bytes.size();
  const std::string_view text = read_header(bytes, name);
  const std::span<const std::byte> data = bytes.subspan(sizeof(uint64_t) + text.size());
  const Json header =
      parse_json(text, name + ": header", {.max_bytes = kMaxHeaderBytes, .max_depth = kMaxHeaderDepth});
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") {
      metadata = read_string_map(entry, name);
      continue;
    }
    const EntryReader reader(name, key, entry);
    const auto [begin, end] = reader.data_offsets(data.size());
    SafetensorsTensor tensor{.name = key,
                             .file = name,
                             .dtype_name = reader.dtype(),
                             .shape = reader.shape(),
                             .begin = data.data() + begin,
                             .size_bytes = end - begin};
    tensor.dtype = safetensors_dtype(tensor.dtype_name);
    check_size(reader, tensor);
    tensors.push_back(std::move(tensor));
  }
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return std::pair(a.begin, a.size_bytes) < std::pair(b.begin, b.size_bytes);
  });
  check_coverage(tensors, data, name);
  by_name.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) by_name[i] = static_cast<uint32_t>(i);
  std::sort(by_name.begin(), by_name.end(),
            [&](uint32_t a, uint32_t b) { return tensors[a].name < tensors[b].name; });
}

llmh_dtype safetensors_dtype(std::string_view name) {
  for (const DtypeName& known : kDtypeNames)
    if (known.name == name) return known.dtype;
  return LLMH_DTYPE_INVALID;
}

std::string_view safetensors_dtype_name(llmh_dtype dtype) {
  for (const DtypeName& known : kDtypeNames)
    if (known.dtype == dtype) return known.name;
  return {};
}

std::span<const std::byte> SafetensorsTensor::data() const {
  if (dtype == LLMH_DTYPE_INVALID)
    throw_error(ErrorCode::kUnimplemented,
                "{}: tensor '{}' has dtype '{}', which is not supported; convert it to BF16", file,
                printable(name), printable(dtype_name));
  return {begin, static_cast<size_t>(size_bytes)};
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  state->mapping = MappedFile(path);
  state->name = path.string();
  state->parse(state->mapping.bytes());
  return SafetensorsFile(std::move(state));
}

SafetensorsFile SafetensorsFile::from_bytes(std::span<const std::byte> bytes, std::string_view name) {
  auto state = std::make_unique<State>();
  state->name = name;
  state->parse(bytes);
  return SafetensorsFile(std::move(state));
}

SafetensorsFile::SafetensorsFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const std::string& SafetensorsFile::name() const {
  return state_->name;
}
uint64_t SafetensorsFile::file_bytes() const {
  return state_->file_bytes;
}
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return state_->metadata;
}
std::span<const SafetensorsTensor> SafetensorsFile::tensors() const {
  return state_->tensors;
}

const SafetensorsTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found =
      std::lower_bound(state_->by_name.begin(), state_->by_name.end(), name,
                       [&](uint32_t i, std::string_view wanted) { return state_->tensors[i].name < wanted; });
  if (found == state_->by_name.end() || state_->tensors[*found].name != name) return nullptr;
  return &state_->tensors[*found];
}

}  // namespace llmhost::model
