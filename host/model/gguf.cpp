#include "model/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "model/checkpoint_text.h"
#include "model/gguf_parse.h"

namespace llmhost::model {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxParts = 65535;  // split.count is a u16

struct MappedPart {
  explicit MappedPart(const fs::path& path) : mapping(path), name(path.string()) {}
  MappedPart(std::span<const std::byte> bytes, std::string_view given_name)
      : memory(bytes), name(given_name) {}
  std::span<const std::byte> bytes() const { return memory.empty() ? mapping.bytes() : memory; }

  MappedFile mapping;
  std::span<const std::byte> memory;
  std::string name;
  GgufPart content;
};

// `prefix-00002-of-00005.gguf` taken apart.
struct SplitName {
  std::string prefix;
  uint64_t number = 0;  // from 1
  uint64_t count = 0;
};

std::optional<uint64_t> five_digits(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<SplitName> parse_split_name(const std::string& file_name) {
  constexpr std::string_view kPattern = "-00001-of-00001.gguf";
  if (file_name.size() < kPattern.size()) return std::nullopt;
  const size_t begin = file_name.size() - kPattern.size();
  const std::string_view tail = std::string_view(file_name).substr(begin);
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf") return std::nullopt;
  const auto number = five_digits(tail.substr(1, 5));
  const auto count = five_digits(tail.substr(10, 5));
  if (!number || !count) return std::nullopt;
  return SplitName{file_name.substr(0, begin), *number, *count};
}

const GgufValue* find_in(const std::vector<GgufValue>& metadata, std::string_view key) {
  const auto found = std::find_if(metadata.begin(), metadata.end(),
                                  [&](const GgufValue& value) { return value.key() == key; });
  return found == metadata.end() ? nullptr : &*found;
}

uint64_t u64_or(const MappedPart& part, std::string_view key, uint64_t fallback) {
  const GgufValue* value = find_in(part.content.metadata, key);
  return value == nullptr ? fallback : value->as_u64();
}

std::unique_ptr<MappedPart> parsed(std::unique_ptr<MappedPart> part) {
  part->content = GgufParser(part->bytes(), part->name).parse();
  return part;
}

void check_parts_exist(const fs::path& folder, const SplitName& name) {
  std::string missing;
  size_t missing_count = 0;
  for (uint64_t i = 1; i <= name.count; ++i) {
    const std::string file = fmt::format("{}-{:05}-of-{:05}.gguf", name.prefix, i, name.count);
    std::error_code ignored;
    if (fs::exists(folder / file, ignored)) continue;
    if (++missing_count <= 3) missing += (missing.empty() ? "" : ", ") + file;
  }
  if (missing_count == 0) return;
  throw_error(ErrorCode::kNotFound, "{}: {} of {} parts of the split model are missing: {}{}",
              folder.string(), missing_count, name.count, missing, missing_count > 3 ? ", ..." : "");
}

// Opens the other parts of the set that `given` belongs to.
std::vector<std::unique_ptr<MappedPart>> open_split(const fs::path& path, std::unique_ptr<MappedPart> given,
                                                    uint64_t count) {
  const std::optional<SplitName> name = parse_split_name(path.filename().string());
  if (!name || name->count != count || name->number == 0 || name->number > count)
    throw_invalid(
        "{}: one part of {} (split.count), but it is not named like 'name-00001-of-{:05}.gguf'; rename it",
        path.string(), count, count);
  check_parts_exist(path.parent_path(), *name);
  std::vector<std::unique_ptr<MappedPart>> parts;
  uint64_t tensors = 0;
  for (uint64_t i = 1; i <= count; ++i) {
    const fs::path file = path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", name->prefix, i, count);
    parts.push_back(i == name->number ? std::move(given) : parsed(std::make_unique<MappedPart>(file)));
    const MappedPart& part = *parts.back();
    if (u64_or(part, "split.count", 1) != count || u64_or(part, "split.no", 0) != i - 1)
      throw_invalid("{}: split.no {} of split.count {} does not agree with the file's name", part.name,
                    u64_or(part, "split.no", 0), u64_or(part, "split.count", 1));
    tensors += part.content.tensors.size();
  }
  const uint64_t expected = u64_or(*parts.front(), "split.tensors.count", tensors);
  if (expected != tensors)
    throw_invalid("{}: split.tensors.count is {}, but the parts hold {} tensors", parts.front()->name,
                  expected, tensors);
  return parts;
}

// Indices of `items` ordered by name; throws when two names are equal.
template <typename Items, typename NameOf>
std::vector<uint32_t> index_by_name(const Items& items, const NameOf& name_of, std::string_view file,
                                    std::string_view what) {
  std::vector<uint32_t> index(items.size());
  std::iota(index.begin(), index.end(), 0U);
  std::sort(index.begin(), index.end(),
            [&](uint32_t a, uint32_t b) { return name_of(items[a]) < name_of(items[b]); });
  const auto same = std::adjacent_find(index.begin(), index.end(), [&](uint32_t a, uint32_t b) {
    return name_of(items[a]) == name_of(items[b]);
  });
  if (same != index.end())
    throw_invalid("{}: {} '{}' occurs twice", file, what, printable(name_of(items[*same])));
  return index;
}

template <typename Item, typename NameOf>
const Item* find_by_name(const std::vector<Item>& items, const std::vector<uint32_t>& index,
                         const NameOf& name_of, std::string_view name) {
  const auto found =
      std::lower_bound(index.begin(), index.end(), name,
                       [&](uint32_t i, std::string_view wanted) { return name_of(items[i]) < wanted; });
  if (found == index.end() || name_of(items[*found]) != name) return nullptr;
  return &items[*found];
}

std::string_view key_of(const GgufValue& value) {
  return value.key();
}
std::string_view name_of_tensor(const GgufTensor& tensor) {
  return tensor.name;
}

}  // namespace

struct GgufFile::State {
  explicit State(std::vector<std::unique_ptr<MappedPart>> opened) : parts(std::move(opened)) {
    for (const auto& part : parts) {
      tensors.insert(tensors.end(), part->content.tensors.begin(), part->content.tensors.end());
      part->content.tensors = {};
      index_by_name(part->content.metadata, key_of, part->name, "metadata key");
    }
    key_index = index_by_name(metadata(), key_of, parts.front()->name, "metadata key");
    tensor_index = index_by_name(tensors, name_of_tensor, parts.front()->name, "tensor");
  }
  const std::vector<GgufValue>& metadata() const { return parts.front()->content.metadata; }

  std::vector<std::unique_ptr<MappedPart>> parts;  // never empty; unique_ptr keeps the names' addresses
  std::vector<GgufTensor> tensors;
  std::vector<uint32_t> key_index;
  std::vector<uint32_t> tensor_index;
};

std::vector<int64_t> GgufTensor::shape() const {
  std::vector<int64_t> result;
  for (uint32_t i = dim_count; i > 0; --i) result.push_back(static_cast<int64_t>(dim_values[i - 1]));
  return result;
}

uint64_t GgufTensor::element_count() const {
  uint64_t count = 1;
  for (const uint64_t dim : dims()) count *= dim;
  return count;
}

std::span<const std::byte> GgufTensor::data() const {
  if (dtype == LLMH_DTYPE_INVALID)
    throw_error(ErrorCode::kUnimplemented,
                "{}: tensor '{}' has ggml type {}, which is not supported; convert the model to "
                "a supported type such as q4_k or f16",
                file, printable(name), ggml_type);
  return {begin, static_cast<size_t>(size_bytes)};
}

GgufFile GgufFile::open(const fs::path& path) {
  auto given = parsed(std::make_unique<MappedPart>(path));
  const uint64_t count = u64_or(*given, "split.count", 1);
  if (count > kMaxParts)
    throw_invalid("{}: split.count {} is over the limit of {}", path.string(), count, kMaxParts);
  std::vector<std::unique_ptr<MappedPart>> parts;
  if (count > 1) {
    parts = open_split(path, std::move(given), count);
  } else {
    const auto name = parse_split_name(path.filename().string());
    if (name && name->count > 1)
      throw_invalid("{}: named as one part of {}, but has no split.count; it is not whole or was renamed",
                    path.string(), name->count);
    parts.push_back(std::move(given));
  }
  return GgufFile(std::make_unique<State>(std::move(parts)));
}

GgufFile GgufFile::from_bytes(std::span<const std::byte> bytes, std::string_view name) {
  std::vector<std::unique_ptr<MappedPart>> parts;
  parts.push_back(parsed(std::make_unique<MappedPart>(bytes, name)));
  const uint64_t count = u64_or(*parts.front(), "split.count", 1);
  if (count > 1) throw_invalid("{}: one part of {} (split.count); open it by its path", name, count);
  return GgufFile(std::make_unique<State>(std::move(parts)));
}

GgufFile::GgufFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufFile::~GgufFile() = default;
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;

const std::string& GgufFile::name() const {
  return state_->parts.front()->name;
}

std::vector<fs::path> GgufFile::part_paths() const {
  std::vector<fs::path> paths;
  for (const auto& part : state_->parts) paths.emplace_back(part->name);
  return paths;
}

uint32_t GgufFile::version() const {
  return state_->parts.front()->content.version;
}
uint64_t GgufFile::alignment() const {
  return state_->parts.front()->content.alignment;
}

uint64_t GgufFile::file_bytes() const {
  uint64_t total = 0;
  for (const auto& part : state_->parts) total += part->bytes().size();
  return total;
}

std::span<const GgufValue> GgufFile::metadata() const {
  return state_->metadata();
}

const GgufValue* GgufFile::find(std::string_view key) const {
  return find_by_name(state_->metadata(), state_->key_index, key_of, key);
}

const GgufValue& GgufFile::at(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr)
    throw_error(ErrorCode::kNotFound, "{}: metadata '{}' is missing", name(), printable(key));
  return *value;
}

std::optional<std::string_view> GgufFile::try_string(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->as_string());
}

std::optional<uint64_t> GgufFile::try_u64(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->as_u64());
}

std::optional<int64_t> GgufFile::try_i64(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->as_i64());
}

std::optional<float> GgufFile::try_f32(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->as_f32());
}

std::optional<bool> GgufFile::try_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->as_bool());
}

std::optional<GgufArray> GgufFile::try_array(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->as_array());
}

std::span<const GgufTensor> GgufFile::tensors() const {
  return state_->tensors;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  return find_by_name(state_->tensors, state_->tensor_index, name_of_tensor, name);
}

}  // namespace llmhost::model
