// Puts together what schemas that hold together say.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "text/grammar/json_schema.h"

namespace llmhost::text::grammar {
namespace {

const OrderedJson* find(const OrderedJson& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

void raise(int64_t& least, const OrderedJson* value) {
  if (value != nullptr) least = std::max(least, static_cast<int64_t>(value->get<double>()));
}

void lower(int64_t& most, const OrderedJson* value) {
  if (value == nullptr) return;
  const auto limit = static_cast<int64_t>(value->get<double>());
  most = most < 0 ? limit : std::min(most, limit);
}

void add_bounds(const OrderedJson& schema, NumberRange& range) {
  const auto tighten_least = [&](const OrderedJson* value, bool is_open) {
    if (value == nullptr) return;
    const auto bound = value->get<double>();
    if (!range.least || bound > range.least->value || (bound == range.least->value && is_open))
      range.least = {bound, is_open};
  };
  const auto tighten_most = [&](const OrderedJson* value, bool is_open) {
    if (value == nullptr) return;
    const auto bound = value->get<double>();
    if (!range.most || bound < range.most->value || (bound == range.most->value && is_open))
      range.most = {bound, is_open};
  };
  tighten_least(find(schema, "minimum"), false);
  tighten_least(find(schema, "exclusiveMinimum"), true);
  tighten_most(find(schema, "maximum"), false);
  tighten_most(find(schema, "exclusiveMaximum"), true);
}

void add_divisor(SchemaDocument& document, Schema schema, Shape& shape) {
  const OrderedJson* value = find(*schema, "multipleOf");
  if (value == nullptr || (shape.types & kNumbers) == 0) return;
  const auto divisor = value->get<double>();
  if (!(divisor > 0)) document.fail(schema, "'multipleOf': a number above 0 was expected");
  // Every integer is a multiple of a half.
  if ((shape.types & kFraction) == 0 && divisor < 1 && 1 / divisor == std::floor(1 / divisor)) return;
  if (divisor != std::floor(divisor) || divisor > 1e9)
    document.fail(schema, "'multipleOf' is only supported with integers");
  shape.divisors.push_back(static_cast<int64_t>(divisor));
  shape.types &= ~static_cast<uint32_t>(kFraction);
}

void add_values(Schema schema, Shape& shape) {
  const auto keep = [&](std::vector<OrderedJson> values) {
    if (shape.values)
      std::erase_if(values, [&](const OrderedJson& value) {
        return std::find(shape.values->begin(), shape.values->end(), value) == shape.values->end();
      });
    shape.values = std::move(values);
  };
  if (const OrderedJson* only = find(*schema, "const")) keep({*only});
  if (const OrderedJson* values = find(*schema, "enum")) keep({values->begin(), values->end()});
}

// The schemas of the items in this place, of those after all such places.
const OrderedJson* rest_items(const OrderedJson& schema) {
  const OrderedJson* items = find(schema, "items");
  return items != nullptr && items->is_array() ? find(schema, "additionalItems") : items;
}

const OrderedJson* place_items(const OrderedJson& schema) {
  const OrderedJson* items = find(schema, "items");
  return items != nullptr && items->is_array() ? items : find(schema, "prefixItems");
}

void merge_items(const Conjunction& schemas, Shape& shape) {
  size_t places = 0;
  for (const Schema schema : schemas)
    if (const OrderedJson* first = place_items(*schema)) places = std::max(places, first->size());
  for (size_t i = 0; i <= places; ++i) {
    Conjunction here;
    for (const Schema schema : schemas) {
      const OrderedJson* first = place_items(*schema);
      const OrderedJson* its = first != nullptr && i < first->size() ? &(*first)[i] : rest_items(*schema);
      if (its != nullptr) here.push_back(its);
    }
    if (i < places)
      shape.first_items.push_back(std::move(here));
    else
      shape.items = std::move(here);
  }
}

void merge_properties(SchemaDocument& document, const Conjunction& schemas, Shape& shape) {
  std::set<std::string> required;
  std::vector<std::string> names;
  std::set<std::string> known;
  const auto add_name = [&](const std::string& name) {
    if (known.insert(name).second) names.push_back(name);
  };
  for (const Schema schema : schemas) {
    if (const OrderedJson* properties = find(*schema, "properties"))
      for (const auto& [name, value] : properties->items()) add_name(name);
    shape.others.push_back(find(*schema, "additionalProperties"));
    if (const OrderedJson* patterns = find(*schema, "patternProperties"))
      for (const auto& [pattern, its] : patterns->items())
        shape.name_patterns.push_back(
            {&document.pattern_texts(schema, pattern), shape.others.size() - 1, &its});
    if (const OrderedJson* allowed = find(*schema, "propertyNames")) shape.property_names.push_back(allowed);
  }
  for (const Schema schema : schemas)
    if (const OrderedJson* list = find(*schema, "required"))
      for (const OrderedJson& name : *list) {
        add_name(name.get<std::string>());
        required.insert(name.get<std::string>());
      }
  for (const std::string& name : names) {
    Shape::Property property{name, {}, required.contains(name)};
    bool is_allowed = true;
    for (const Schema allowed : shape.property_names)
      is_allowed = is_allowed && document.holds(OrderedJson(name), allowed);
    for (size_t owner = 0; owner < schemas.size(); ++owner) {
      const OrderedJson* properties = find(*schemas[owner], "properties");
      bool is_known = properties != nullptr && properties->contains(name);
      if (is_known) property.schemas.push_back(&(*properties)[name]);
      for (const Shape::NamePattern& pattern : shape.name_patterns) {
        if (pattern.owner != owner || !pattern.names->matches(name)) continue;
        property.schemas.push_back(pattern.schema);
        is_known = true;
      }
      if (!is_known && shape.others[owner] != nullptr) property.schemas.push_back(shape.others[owner]);
    }
    static const OrderedJson kNever = false;
    if (!is_allowed) property.schemas = {&kNever};
    document.budget().work(schemas.size());
    shape.properties.push_back(std::move(property));
  }
}

// Some generators of schemas give integers a format as well.
void add_format(Schema schema, const std::string& name, Shape& shape) {
  if ((shape.types & kString) != 0) {
    shape.formats.emplace_back(schema, name);
  } else if (name == "int32") {
    add_bounds(OrderedJson{{"minimum", INT32_MIN}, {"maximum", INT32_MAX}}, shape.range);
  } else if (name == "int64") {
    add_bounds(OrderedJson{{"minimum", -9e18}, {"maximum", 9e18}}, shape.range);
  }
}

}  // namespace

Shape merge(SchemaDocument& document, const Conjunction& schemas) {
  Shape shape;
  for (const Schema schema : schemas) shape.types &= document.types_of(schema);
  for (const Schema schema : schemas) {
    add_values(schema, shape);
    add_bounds(*schema, shape.range);
    add_divisor(document, schema, shape);
    raise(shape.min_length, find(*schema, "minLength"));
    lower(shape.max_length, find(*schema, "maxLength"));
    if (const OrderedJson* pattern = find(*schema, "pattern"))
      shape.patterns.emplace_back(schema, pattern->get<std::string>());
    if (const OrderedJson* format = find(*schema, "format"))
      add_format(schema, format->get<std::string>(), shape);
    raise(shape.min_items, find(*schema, "minItems"));
    lower(shape.max_items, find(*schema, "maxItems"));
    raise(shape.min_properties, find(*schema, "minProperties"));
    lower(shape.max_properties, find(*schema, "maxProperties"));
  }
  merge_items(schemas, shape);
  merge_properties(document, schemas, shape);
  return shape;
}

}  // namespace llmhost::text::grammar
