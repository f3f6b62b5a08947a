// Filters on sequences and mappings.
#include <algorithm>

#include "text/template/filters.h"
#include "text/template/operators.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

Value attribute(Runtime&, const Value& value, Arguments& arguments) {
  const std::string name = str_of(*arguments.take("attr", {"name"}, 1)[0]);
  if (value.is_undefined()) return get_attribute(value, name);
  if (auto found = python_attribute(value, name)) return *found;
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", value.type_name(), name));
}

Integer positive_count(const Value& value, std::string_view what) {
  const Integer count = python_index(value, what);
  if (count <= 0) fail("{} must be greater than 0", what);
  if (count > (1 << 20)) fail("{} is too large", what);
  return count;
}

Value batch(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("batch", {"linecount", "fill_with"}, 1);
  const auto size = static_cast<size_t>(positive_count(*given[0], "linecount"));
  Values rows, row;
  for (const auto walked = iterate(value); const Value& item : walked->items) {
    if (row.size() == size) rows.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (given[1] && !given[1]->is_none()) row.resize(size, *given[1]);
    rows.push_back(Value::list(std::move(row)));
  }
  return iterator_value(std::move(rows));
}

Value slice(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("slice", {"slices", "fill_with"}, 1);
  const auto slices = static_cast<size_t>(positive_count(*given[0], "slices"));
  const auto list = iterate(value);
  const size_t each = list->items.size() / slices;
  const size_t longer = list->items.size() % slices;
  Values columns;
  size_t at = 0;
  for (size_t i = 0; i < slices; ++i) {
    const size_t count = each + (i < longer ? 1 : 0);
    Values column(list->items.begin() + static_cast<ptrdiff_t>(at),
                  list->items.begin() + static_cast<ptrdiff_t>(at + count));
    at += count;
    if (given[1] && !given[1]->is_none() && i >= longer) column.push_back(*given[1]);
    columns.push_back(Value::list(std::move(column)));
  }
  return iterator_value(std::move(columns));
}

Value default_value(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("default", {"default_value", "boolean"});
  const bool boolean = given[1] && given[1]->truth();
  if (!value.is_undefined() && !(boolean && !value.truth())) return value;
  return given[0].value_or(text_value(""));
}

Value first(Runtime&, const Value& value, Arguments&) {
  const auto list = iterate(value);
  return list->items.empty() ? Value::undefined("No first item, sequence was empty.") : list->items.front();
}

bool reversible(const Value& value) {
  return !value.is(Kind::kObject) || dynamic_cast<Iterator*>(&value.object()) == nullptr;
}

Value last(Runtime&, const Value& value, Arguments&) {
  if (!reversible(value)) fail("'{}' object is not reversible", value.type_name());
  const auto list = iterate(value);
  return list->items.empty() ? Value::undefined("No last item, sequence was empty.") : list->items.back();
}

Value reverse(Runtime&, const Value& value, Arguments&) {
  if (value.is_string()) {
    std::u32string codes = decode(value.text());
    std::reverse(codes.begin(), codes.end());
    return Value::string(encode(codes), value.is_markup());
  }
  const bool in_place = reversible(value);
  Values items = iterate(value)->items;
  std::reverse(items.begin(), items.end());
  return in_place ? iterator_value(std::move(items), "list_reverseiterator") : Value::list(std::move(items));
}

Value length(Runtime&, const Value& value, Arguments&) {
  const auto size = length_of(value);
  if (!size) fail("object of type '{}' has no len()", value.type_name());
  return Value::integer(static_cast<Integer>(*size));
}

Value list(Runtime&, const Value& value, Arguments&) {
  return Value::list(iterate(value)->items);
}

Value items(Runtime&, const Value& value, Arguments&) {
  if (value.is_undefined()) return iterator_value({});
  if (!value.is(Kind::kDict)) fail("Can only get item pairs from a mapping.");
  Values pairs;
  for (const auto& [key, item] : value.dict().entries()) pairs.push_back(Value::tuple({key, item}));
  return iterator_value(std::move(pairs));
}

Value join(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("join", {"d", "attribute"});
  const std::string separator = given[0] ? str_of(*given[0]) : "";
  const bool by_attribute = given[1] && !given[1]->is_none();
  std::string out;
  bool start = true;
  for (const auto walked = iterate(value); const Value& item : walked->items) {
    if (!std::exchange(start, false)) out += separator;
    out += str_of(by_attribute ? attribute_at(item, *given[1]) : item);
    if (Meter* meter = Meter::current()) meter->check(out.size());
  }
  return text_value(std::move(out));
}

struct Keyed {
  Value key;
  Value item;
};

void sort_keyed(std::vector<Keyed>& keyed, bool reversed) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    return order(reversed ? b.key : a.key, reversed ? a.key : b.key, "<") == -1;
  });
}

Value items_of(const std::vector<Keyed>& keyed) {
  Values out;
  for (const Keyed& entry : keyed) out.push_back(entry.item);
  return Value::list(std::move(out));
}

// The sort key for "a,b.c": a list of values, so that equal ones need no order.
Value sort_key(const Value& item, const std::optional<Value>& path, bool case_sensitive) {
  if (!path || path->is_none()) return Value::list({comparison_key(item, case_sensitive)});
  if (!path->is_string()) return Value::list({comparison_key(attribute_at(item, *path), case_sensitive)});
  Values keys;
  std::string_view rest = path->text();
  for (;;) {
    const size_t comma = rest.find(',');
    keys.push_back(
        comparison_key(attribute_at(item, text_value(std::string(rest.substr(0, comma)))), case_sensitive));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return Value::list(std::move(keys));
}

Value sort(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("sort", {"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> keyed;
  for (const auto walked = iterate(value); const Value& item : walked->items)
    keyed.push_back({sort_key(item, given[2], given[1] && given[1]->truth()), item});
  sort_keyed(keyed, given[0] && given[0]->truth());
  return items_of(keyed);
}

Value dict_sort(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("dictsort", {"case_sensitive", "by", "reverse"});
  const std::string by = given[1] ? str_of(*given[1]) : "key";
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (!value.is(Kind::kDict)) fail("dictsort needs a mapping, not {}", value.type_name());
  std::vector<Keyed> keyed;
  for (const auto& [key, item] : value.dict().entries())
    keyed.push_back(
        {comparison_key(by == "key" ? key : item, given[0] && given[0]->truth()), Value::tuple({key, item})});
  sort_keyed(keyed, given[2] && given[2]->truth());
  return items_of(keyed);
}

Value unique(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("unique", {"case_sensitive", "attribute"});
  const bool by_attribute = given[1] && !given[1]->is_none();
  std::unordered_multimap<size_t, Value> seen;
  Values out;
  for (const auto walked = iterate(value); const Value& item : walked->items) {
    Value key =
        comparison_key(by_attribute ? attribute_at(item, *given[1]) : item, given[0] && given[0]->truth());
    const auto [begin, end] = seen.equal_range(hash_of(key));
    if (std::any_of(begin, end, [&](const auto& known) { return equal(known.second, key); })) continue;
    const size_t hash = hash_of(key);
    seen.emplace(hash, std::move(key));
    out.push_back(item);
  }
  return iterator_value(std::move(out));
}

Value group_by(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("groupby", {"attribute", "default", "case_sensitive"}, 1);
  const Value* fallback = given[1] && !given[1]->is_none() ? &*given[1] : nullptr;
  std::vector<Keyed> keyed;
  for (const auto walked = iterate(value); const Value& item : walked->items)
    keyed.push_back(
        {comparison_key(attribute_at(item, *given[0], fallback), given[2] && given[2]->truth()), item});
  sort_keyed(keyed, false);
  Values groups;
  for (size_t i = 0; i < keyed.size();) {
    Values members;
    size_t end = i;
    for (; end < keyed.size() && equal(keyed[end].key, keyed[i].key); ++end)
      members.push_back(keyed[end].item);
    if (end == i) ++end;  // not equal to itself
    groups.push_back(
        Value::group(attribute_at(keyed[i].item, *given[0], fallback), Value::list(std::move(members))));
    i = end;
  }
  return Value::list(std::move(groups));
}

Value json(Runtime&, const Value& value, Arguments& arguments) {
  const auto given = arguments.take("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = given[0] && given[0]->truth();
  style.sort_keys = given[3] && given[3]->truth();
  if (given[1] && !given[1]->is_none()) {
    style.indented = true;
    style.item_separator = ",";
    if (given[1]->is_string()) {
      style.indent = given[1]->text();
    } else {
      const Integer width = python_index(*given[1], "indent");
      if (width > 1000) fail("the indent of tojson is larger than 1000");
      style.indent.assign(static_cast<size_t>(std::max<Integer>(0, width)), ' ');
    }
  }
  if (given[2] && !given[2]->is_none()) {
    const auto pair = iterate(*given[2]);
    if (pair->items.size() != 2) fail("the separators of tojson are a pair of strings");
    style.item_separator = str_of(pair->items[0]);
    style.key_separator = str_of(pair->items[1]);
  }
  return text_value(to_json(value, style));
}

Value pretty(Runtime&, const Value& value, Arguments&) {
  constexpr size_t kLine = 80;
  std::string text = repr_of(value);
  if (char_count(text) > kLine)
    fail("pprint of a value wider than {} characters is not supported, use tojson", kLine);
  return text_value(std::move(text));
}

Value random(Runtime&, const Value&, Arguments&) {
  fail("the filter random is not supported: prompts must be reproducible");
}
Value urlize(Runtime&, const Value&, Arguments&) {
  fail("the filter urlize is not supported");
}

constexpr FilterEntry kFilters[] = {
    {"attr", attribute},
    {"batch", batch},
    {"count", length},
    {"d", default_value},
    {"default", default_value},
    {"dictsort", dict_sort},
    {"first", first},
    {"groupby", group_by},
    {"items", items},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", list},
    {"pprint", pretty},
    {"random", random},
    {"reverse", reverse},
    {"slice", slice},
    {"sort", sort},
    {"tojson", json},
    {"unique", unique},
    {"urlize", urlize},
};

}  // namespace

std::span<const FilterEntry> sequence_filters() {
  return kFilters;
}

}  // namespace llmhost::text::jinja
