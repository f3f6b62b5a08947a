#include "core/error.h"
#include "text/tokenizer_json_parts.h"

namespace llmhost::text {
namespace {

// Lengths and counts in the file: more would only be damage.
constexpr int64_t kMaxCount = 1 << 24;

}  // namespace

void JsonAt::refuse(std::string_view what) const {
  throw_invalid("{}: {}", where, what);
}

bool JsonAt::has(std::string_view key) const {
  if (!value.is_object()) refuse("an object was expected");
  const auto it = value.find(key);
  return it != value.end() && !it->is_null();
}

JsonAt JsonAt::at(std::string_view key) const {
  if (!has(key)) refuse(fmt::format("the field '{}' is missing", key));
  return {*value.find(key), fmt::format("{}.{}", where, key)};
}

std::vector<JsonAt> JsonAt::items(std::string_view key) const {
  const JsonAt list = at(key);
  if (!list.value.is_array()) list.refuse("a list was expected");
  std::vector<JsonAt> out;
  for (size_t i = 0; i < list.value.size(); ++i)
    out.push_back({list.value[i], fmt::format("{}[{}]", list.where, i)});
  return out;
}

std::string JsonAt::string(std::string_view key) const {
  const JsonAt field = at(key);
  if (!field.value.is_string()) field.refuse("a string was expected");
  return field.value.get<std::string>();
}

std::string JsonAt::string_or(std::string_view key, std::string_view otherwise) const {
  return has(key) ? string(key) : std::string(otherwise);
}

bool JsonAt::flag_or(std::string_view key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const JsonAt field = at(key);
  if (!field.value.is_boolean()) field.refuse("true or false was expected");
  return field.value.get<bool>();
}

size_t JsonAt::count_or(std::string_view key, size_t otherwise) const {
  if (!has(key)) return otherwise;
  const JsonAt field = at(key);
  if (!field.value.is_number_integer()) field.refuse("a whole number was expected");
  const auto count = field.value.get<int64_t>();
  if (count < 0 || count > kMaxCount)
    field.refuse(fmt::format("{} is not between 0 and {}", count, kMaxCount));
  return static_cast<size_t>(count);
}

}  // namespace llmhost::text
