// Values against schemas: which of an enum are valid, and whether two schemas exclude each other.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/sources.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text::grammar {
namespace {

const OrderedJson* find(const OrderedJson& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

double number_or(const OrderedJson& object, const char* key, double otherwise) {
  const OrderedJson* value = find(object, key);
  return value != nullptr && value->is_number() ? value->get<double>() : otherwise;
}

size_t characters(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(),
                                           [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

// draft 4 has "exclusiveMinimum": true; that form is refused before.
struct Bounds {
  double least = -INFINITY;
  double most = INFINITY;
  bool least_open = false;
  bool most_open = false;

  explicit Bounds(const OrderedJson& schema)
      : least(number_or(schema, "minimum", -INFINITY)), most(number_or(schema, "maximum", INFINITY)) {
    const double above = number_or(schema, "exclusiveMinimum", -INFINITY);
    const double below = number_or(schema, "exclusiveMaximum", INFINITY);
    if (above >= least && above != -INFINITY) {
      least = above;
      least_open = true;
    }
    if (below <= most && below != INFINITY) {
      most = below;
      most_open = true;
    }
  }
};

}  // namespace

const Automaton& SchemaDocument::pattern_texts(Schema schema, const std::string& pattern) {
  const auto [entry, is_new] = patterns_.try_emplace(pattern);
  if (is_new) {
    const Expr expression =
        read_regex(pattern, RegexMatch::kAnywhere, "json_schema: " + where(schema) + ": 'pattern'");
    entry->second = to_automaton(expression, budget_);
  }
  return entry->second;
}

const Automaton& SchemaDocument::format_texts_of(Schema schema, const std::string& name) {
  const auto [entry, is_new] = formats_.try_emplace(name);
  if (is_new) {
    const Expr texts = format_texts(name);
    if (texts == nullptr) fail(schema, "'format' \"" + name.substr(0, 60) + "\" is not supported");
    entry->second = to_automaton(texts, budget_);
  }
  return entry->second;
}

uint32_t SchemaDocument::possible_types(Schema schema, int depth) const {
  if (depth > kMostDepth) return kAllTypes;
  if (schema->is_boolean()) return schema->get<bool>() ? kAllTypes : 0U;
  budget_.work(16);
  uint32_t types = kAllTypes;
  if (schema->contains("$ref")) {
    types &= possible_types(target_of(schema), depth + 1);
    if (refs_stand_alone_) return types;
  }
  types &= types_of(schema);
  if (const OrderedJson* value = find(*schema, "const")) types &= type_of(*value);
  const auto any_of = [&](const OrderedJson& parts, const auto& types_of_part) {
    uint32_t all = 0;
    for (const OrderedJson& part : parts) all |= types_of_part(part);
    return all;
  };
  if (const OrderedJson* values = find(*schema, "enum"); values != nullptr && values->is_array())
    types &= any_of(*values, [](const OrderedJson& value) { return type_of(value); });
  for (const char* key : {"anyOf", "oneOf"})
    if (const OrderedJson* parts = find(*schema, key); parts != nullptr && parts->is_array())
      types &= any_of(*parts, [&](const OrderedJson& part) { return possible_types(&part, depth + 1); });
  if (const OrderedJson* parts = find(*schema, "allOf"); parts != nullptr && parts->is_array())
    for (const OrderedJson& part : *parts) types &= possible_types(&part, depth + 1);
  return types;
}

bool SchemaDocument::holds(const OrderedJson& value, Schema schema, int depth) {
  check(schema);
  budget_.work(16);
  if (schema->is_boolean()) return schema->get<bool>();
  if (depth > kMostDepth) fail(schema, "a constant is checked too deep");
  if (schema->contains("$ref")) {
    if (!holds(value, target_of(schema), depth + 1)) return false;
    if (refs_stand_alone_) return true;
  }
  const uint32_t type = type_of(value);
  if ((types_of(schema) & type) == 0) return false;
  if (const OrderedJson* only = find(*schema, "const"); only != nullptr && *only != value) return false;
  if (const OrderedJson* values = find(*schema, "enum");
      values != nullptr && std::find(values->begin(), values->end(), value) == values->end())
    return false;
  if ((type & kNumbers) != 0 && !holds_number(value, *schema)) return false;
  if (type == kString && !holds_string(value, schema)) return false;
  if (type == kArray && !holds_array(value, *schema, depth)) return false;
  if (type == kObject && !holds_object(value, schema, depth)) return false;
  return holds_combined(value, *schema, depth);
}

bool SchemaDocument::holds_combined(const OrderedJson& value, const OrderedJson& schema, int depth) {
  const auto count = [&](const OrderedJson& parts) {
    size_t n = 0;
    for (const OrderedJson& part : parts) n += holds(value, &part, depth + 1) ? 1 : 0;
    return n;
  };
  if (const OrderedJson* parts = find(schema, "allOf"); parts != nullptr && count(*parts) != parts->size())
    return false;
  if (const OrderedJson* parts = find(schema, "anyOf"); parts != nullptr && count(*parts) == 0) return false;
  if (const OrderedJson* parts = find(schema, "oneOf"); parts != nullptr && count(*parts) != 1) return false;
  return true;
}

bool SchemaDocument::holds_number(const OrderedJson& value, const OrderedJson& schema) const {
  const auto number = value.get<double>();
  const Bounds bounds(schema);
  if (number < bounds.least || (number == bounds.least && bounds.least_open)) return false;
  if (number > bounds.most || (number == bounds.most && bounds.most_open)) return false;
  const double divisor = number_or(schema, "multipleOf", 0);
  return divisor <= 0 || std::remainder(number, divisor) == 0;
}

bool SchemaDocument::holds_string(const OrderedJson& value, Schema schema) {
  const auto& text = value.get_ref<const std::string&>();
  const auto n = static_cast<double>(characters(text));
  if (n < number_or(*schema, "minLength", 0) || n > number_or(*schema, "maxLength", INFINITY)) return false;
  if (const OrderedJson* pattern = find(*schema, "pattern");
      pattern != nullptr && !pattern_texts(schema, pattern->get<std::string>()).matches(text))
    return false;
  const OrderedJson* format = find(*schema, "format");
  return format == nullptr || format_texts_of(schema, format->get<std::string>()).matches(text);
}

bool SchemaDocument::holds_array(const OrderedJson& value, const OrderedJson& schema, int depth) {
  const auto n = static_cast<double>(value.size());
  if (n < number_or(schema, "minItems", 0) || n > number_or(schema, "maxItems", INFINITY)) return false;
  const OrderedJson* items = find(schema, "items");
  const OrderedJson* first = find(schema, "prefixItems");
  if (items != nullptr && items->is_array()) {
    first = items;
    items = find(schema, "additionalItems");
  }
  for (size_t i = 0; i < value.size(); ++i) {
    const OrderedJson* its = first != nullptr && i < first->size() ? &(*first)[i] : items;
    if (its != nullptr && !holds(value[i], its, depth + 1)) return false;
  }
  return true;
}

bool SchemaDocument::holds_object(const OrderedJson& value, Schema source, int depth) {
  const OrderedJson& schema = *source;
  const auto n = static_cast<double>(value.size());
  if (n < number_or(schema, "minProperties", 0) || n > number_or(schema, "maxProperties", INFINITY))
    return false;
  if (const OrderedJson* required = find(schema, "required"))
    for (const OrderedJson& name : *required)
      if (!value.contains(name.get<std::string>())) return false;
  const OrderedJson* properties = find(schema, "properties");
  const OrderedJson* others = find(schema, "additionalProperties");
  const OrderedJson* names = find(schema, "propertyNames");
  const OrderedJson* patterns = find(schema, "patternProperties");
  for (const auto& [key, member] : value.items()) {
    bool is_known = properties != nullptr && properties->contains(key);
    if (is_known && !holds(member, &(*properties)[key], depth + 1)) return false;
    if (patterns != nullptr)
      for (const auto& [pattern, its] : patterns->items()) {
        if (!pattern_texts(source, pattern).matches(key)) continue;
        is_known = true;
        if (!holds(member, &its, depth + 1)) return false;
      }
    if (!is_known && others != nullptr && !holds(member, others, depth + 1)) return false;
    if (names != nullptr && !holds(OrderedJson(key), names, depth + 1)) return false;
  }
  return true;
}

bool SchemaDocument::are_disjoint(Schema a, Schema b, int depth) {
  if (depth > kMostDepth) return false;
  check(a);
  check(b);
  budget_.work(16);
  const uint32_t shared = possible_types(a) & possible_types(b);
  if (shared == 0) return true;
  for (int turn = 0; turn < 2; ++turn, std::swap(a, b)) {
    if (a->is_boolean()) continue;
    if (a->contains("$ref") && are_disjoint(target_of(a), b, depth + 1)) return true;
    if (refs_stand_alone_ && a->contains("$ref")) continue;
    const auto is_apart = [&](const OrderedJson& part) { return are_disjoint(&part, b, depth + 1); };
    if (const OrderedJson* parts = find(*a, "allOf"))
      if (std::any_of(parts->begin(), parts->end(), is_apart)) return true;
    for (const char* key : {"anyOf", "oneOf"})
      if (const OrderedJson* parts = find(*a, key))
        if (std::all_of(parts->begin(), parts->end(), is_apart)) return true;
    const auto fails = [&](const OrderedJson& value) { return !holds(value, b, depth + 1); };
    if (const OrderedJson* only = find(*a, "const"); only != nullptr && fails(*only)) return true;
    if (const OrderedJson* values = find(*a, "enum"))
      if (std::all_of(values->begin(), values->end(), fails)) return true;
  }
  if (a->is_boolean() || b->is_boolean() || (shared & ~(kObject | kNumbers)) != 0) return false;
  if (refs_stand_alone_ && (a->contains("$ref") || b->contains("$ref"))) return false;
  if ((shared & kObject) != 0 && !objects_disjoint(*a, *b, depth) && !objects_disjoint(*b, *a, depth))
    return false;
  return (shared & kNumbers) == 0 || numbers_disjoint(*a, *b);
}

// By a property that a requires and b cannot have.
bool SchemaDocument::objects_disjoint(const OrderedJson& a, const OrderedJson& b, int depth) {
  const OrderedJson* required = find(a, "required");
  if (required == nullptr) return false;
  const OrderedJson everything = true;
  const auto schema_of = [&](const OrderedJson& schema, const std::string& name) {
    const OrderedJson* properties = find(schema, "properties");
    if (properties != nullptr && properties->contains(name)) return &(*properties)[name];
    if (schema.contains("patternProperties")) return &everything;
    const OrderedJson* others = find(schema, "additionalProperties");
    return others != nullptr ? others : &everything;
  };
  return std::any_of(required->begin(), required->end(), [&](const OrderedJson& entry) {
    const auto& name = entry.get_ref<const std::string&>();
    const OrderedJson* in_a = schema_of(a, name);
    const OrderedJson* in_b = schema_of(b, name);
    if (*in_b == false || *in_a == false) return true;
    return in_a != &everything && in_b != &everything && are_disjoint(in_a, in_b, depth + 1);
  });
}

bool SchemaDocument::numbers_disjoint(const OrderedJson& a, const OrderedJson& b) const {
  const Bounds first(a);
  const Bounds second(b);
  const auto is_below = [](const Bounds& low, const Bounds& high) {
    return low.most < high.least || (low.most == high.least && (low.most_open || high.least_open));
  };
  return is_below(first, second) || is_below(second, first);
}

}  // namespace llmhost::text::grammar
