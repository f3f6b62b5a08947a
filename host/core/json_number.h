// Whole numbers of foreign JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

namespace llmhost {

// A whole number that fits, or nothing: what others (1e99) convert to is not defined.
template <typename AnyJson>
std::optional<int64_t> whole_number(const AnyJson& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.template get<uint64_t>() > uint64_t{INT64_MAX}) return std::nullopt;
  return value.template get<int64_t>();
}

}  // namespace llmhost
