#include "text/template/filters.h"

#include <unordered_map>

#include "text/template/operators.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {

Filter find_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> kFilters = [] {
    std::unordered_map<std::string_view, Filter> all;
    for (const auto& table : {text_filters(), number_filters(), sequence_filters(), selection_filters()})
      all.insert(table.begin(), table.end());
    return all;
  }();
  const auto found = kFilters.find(name);
  return found == kFilters.end() ? nullptr : found->second;
}

Value attribute_at(const Value& item, const Value& path, const Value* fallback) {
  const auto step = [&](const Value& from, const Value& key) {
    Value found = get_item(from, key);
    return found.is_undefined() && fallback != nullptr ? *fallback : found;
  };
  if (!path.is_string()) return step(item, path);
  Value current = item;
  std::string_view rest = path.text();
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool digits =
        !part.empty() && part.size() < 19 && part.find_first_not_of("0123456789") == std::string_view::npos;
    current =
        step(current, digits ? Value::integer(std::stoll(std::string(part))) : text_value(std::string(part)));
    if (dot == std::string_view::npos) return current;
    rest.remove_prefix(dot + 1);
  }
}

Value comparison_key(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? text_value(lower(value.text())) : value;
}

}  // namespace llmhost::text::jinja
