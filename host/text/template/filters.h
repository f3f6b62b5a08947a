// Jinja's filters and tests by name.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "text/template/object.h"

namespace llmhost::text::jinja {

using Filter = Value (*)(Runtime&, const Value& input, Arguments&);
using Test = bool (*)(Runtime&, const Value& input, Arguments&);

Filter find_filter(std::string_view name);  // null when there is none
Test find_test(std::string_view name);

using FilterEntry = std::pair<std::string_view, Filter>;
std::span<const FilterEntry> text_filters();
std::span<const FilterEntry> number_filters();
std::span<const FilterEntry> sequence_filters();
std::span<const FilterEntry> selection_filters();

// The value at a dotted path ("a.b.0") or index; `fallback` stands for an undefined result.
Value attribute_at(const Value& item, const Value& path, const Value* fallback = nullptr);
// Lower case for strings unless case matters, as sort, unique and groupby compare.
Value comparison_key(const Value& value, bool case_sensitive);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace llmhost::text::jinja
