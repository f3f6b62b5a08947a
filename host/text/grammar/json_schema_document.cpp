#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/sources.h"

namespace llmhost::text::grammar {
namespace {

// Without meaning for what is valid.
constexpr std::string_view kAnnotations[] = {
    "title",   "description",      "default",         "examples",    "example",  "$comment",
    "$schema", "deprecated",       "$defs",           "definitions", "readOnly", "writeOnly",
    "$id",     "contentMediaType", "contentEncoding", "id",          "$anchor",  "discriminator"};

enum class Form {
  kSchema,
  kSchemas,
  kSchemaMap,
  kSchemaOrList,
  kCount,
  kNumber,
  kStrings,
  kString,
  kType,
  kList,
  kAny
};

struct Keyword {
  std::string_view name;
  Form form;
  uint32_t types;  // that it says something of
};

constexpr Keyword kKeywords[] = {
    {"type", Form::kType, kAllTypes},
    {"enum", Form::kList, kAllTypes},
    {"const", Form::kAny, kAllTypes},
    {"$ref", Form::kString, kAllTypes},
    {"allOf", Form::kSchemas, kAllTypes},
    {"anyOf", Form::kSchemas, kAllTypes},
    {"oneOf", Form::kSchemas, kAllTypes},
    {"properties", Form::kSchemaMap, kObject},
    {"required", Form::kStrings, kObject},
    {"additionalProperties", Form::kSchema, kObject},
    {"patternProperties", Form::kSchemaMap, kObject},
    {"propertyNames", Form::kSchema, kObject},
    {"minProperties", Form::kCount, kObject},
    {"maxProperties", Form::kCount, kObject},
    {"items", Form::kSchemaOrList, kArray},
    {"prefixItems", Form::kSchemas, kArray},
    {"additionalItems", Form::kSchema, kArray},
    {"minItems", Form::kCount, kArray},
    {"maxItems", Form::kCount, kArray},
    {"uniqueItems", Form::kAny, kArray},
    {"pattern", Form::kString, kString},
    {"format", Form::kString, kString},
    {"minLength", Form::kCount, kString},
    {"maxLength", Form::kCount, kString},
    {"minimum", Form::kNumber, kNumbers},
    {"maximum", Form::kNumber, kNumbers},
    {"exclusiveMinimum", Form::kNumber, kNumbers},
    {"exclusiveMaximum", Form::kNumber, kNumbers},
    {"multipleOf", Form::kNumber, kNumbers},
};

bool is_schema(const OrderedJson& value) {
  return value.is_object() || value.is_boolean();
}

template <class Is>
bool all_are(const OrderedJson& list, const Is& is) {
  return std::all_of(list.begin(), list.end(), is);
}

bool has_form(const OrderedJson& value, Form form) {
  const auto is_string = [](const OrderedJson& entry) { return entry.is_string(); };
  switch (form) {
    case Form::kSchema:
      return is_schema(value);
    case Form::kSchemas:
      return value.is_array() && !value.empty() && all_are(value, is_schema);
    case Form::kSchemaMap:
      return value.is_object() && all_are(value, is_schema);
    case Form::kSchemaOrList:
      return is_schema(value) || (value.is_array() && all_are(value, is_schema));
    case Form::kCount:
      return value.is_number() && value.get<double>() >= 0 && value.get<double>() <= 9e15 &&
             value.get<double>() == static_cast<double>(static_cast<int64_t>(value.get<double>()));
    case Form::kNumber:
      return value.is_number();
    case Form::kStrings:
      return value.is_array() && all_are(value, is_string);
    case Form::kString:
      return value.is_string();
    case Form::kType:
      return value.is_string() || (value.is_array() && !value.empty() && all_are(value, is_string));
    case Form::kList:
      return value.is_array() && !value.empty();
    case Form::kAny:
      return true;
  }
  return false;
}

std::string_view expected(Form form) {
  switch (form) {
    case Form::kSchema:
      return "a schema";
    case Form::kSchemas:
      return "a list of one or more schemas";
    case Form::kSchemaMap:
      return "an object of schemas";
    case Form::kSchemaOrList:
      return "a schema or a list of schemas";
    case Form::kCount:
      return "an integer from 0 on";
    case Form::kNumber:
      return "a number";
    case Form::kStrings:
      return "a list of strings";
    case Form::kString:
      return "a string";
    case Form::kType:
      return "the name of a type or a list of them";
    case Form::kList:
      return "a list of one or more values";
    case Form::kAny:
      break;
  }
  return "a value";
}

std::string escaped_pointer(std::string_view key) {
  std::string out = "/";
  for (const char c : key) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

// The pointer from a schema to one below it.
bool find_below(const OrderedJson& from, Schema wanted, std::string& path) {
  if (&from == wanted) return true;
  if (!from.is_structured()) return false;
  const size_t length = path.size();
  size_t index = 0;
  for (const auto& [key, value] : from.items()) {
    if (value.is_structured() || value.is_boolean()) {
      path += from.is_array() ? fmt::format("/{}", index) : escaped_pointer(key);
      if (find_below(value, wanted, path)) return true;
      path.resize(length);
    }
    ++index;
  }
  return false;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

uint32_t type_of(const OrderedJson& value) {
  switch (value.type()) {
    case OrderedJson::value_t::null:
      return kNull;
    case OrderedJson::value_t::boolean:
      return kBoolean;
    case OrderedJson::value_t::object:
      return kObject;
    case OrderedJson::value_t::array:
      return kArray;
    case OrderedJson::value_t::string:
      return kString;
    case OrderedJson::value_t::number_integer:
    case OrderedJson::value_t::number_unsigned:
      return kInteger;
    case OrderedJson::value_t::number_float: {
      const auto number = value.get<double>();
      return std::abs(number) < 1e300 && number == std::floor(number) ? kInteger : kFraction;
    }
    default:
      return 0;
  }
}

SchemaDocument::SchemaDocument(std::string_view text, Budget& budget)
    : budget_(budget),
      root_(parse_ordered_json(text, "json_schema", {.max_bytes = text.size(), .max_depth = 128})) {
  if (!root_.is_object() || !root_.contains("$schema") || !root_["$schema"].is_string()) return;
  const auto& dialect = root_["$schema"].get_ref<const std::string&>();
  for (const std::string_view old : {"draft-03", "draft-04", "draft-06", "draft-07"})
    refs_stand_alone_ = refs_stand_alone_ || dialect.find(old) != std::string::npos;
}

std::string SchemaDocument::where(Schema schema) const {
  std::string path = "#";
  return find_below(root_, schema, path) ? path : "#";
}

void SchemaDocument::fail(Schema schema, std::string_view what) const {
  throw_invalid("json_schema: {}: {}", where(schema), what);
}

Schema SchemaDocument::target_of(Schema schema) const {
  const auto& text = (*schema)["$ref"].get_ref<const std::string&>();
  if (!text.starts_with("#") || (text.size() > 1 && text[1] != '/'))
    fail(schema,
         fmt::format("'$ref' to '{}' is not supported; only JSON pointers into the same schema (#/...) are",
                     text.substr(0, 60)));
  const OrderedJson* at = &root_;
  const std::string pointer = unescaped(std::string_view(text).substr(1));
  for (size_t begin = 0; begin < pointer.size();) {
    const size_t end = std::min(pointer.find('/', begin + 1), pointer.size());
    std::string key;
    for (size_t i = begin + 1; i < end; ++i) {
      const bool is_escape =
          pointer[i] == '~' && i + 1 < end && (pointer[i + 1] == '0' || pointer[i + 1] == '1');
      key += !is_escape ? pointer[i] : pointer[++i] == '0' ? '~' : '/';
    }
    size_t index = 0;
    if (at->is_object() && at->contains(key)) {
      at = &(*at)[key];
    } else if (at->is_array() && !key.empty() &&
               std::from_chars(key.data(), key.data() + key.size(), index).ptr == key.data() + key.size() &&
               index < at->size()) {
      at = &(*at)[index];
    } else {
      fail(schema, fmt::format("'$ref' to '{}' leads nowhere", text.substr(0, 60)));
    }
    begin = end;
  }
  return at;
}

void SchemaDocument::check(Schema schema) {
  if (!checked_.try_emplace(schema, true).second) return;
  budget_.work(16);
  if (schema->is_boolean()) return;
  if (!schema->is_object()) fail(schema, "a schema is an object, true or false");
  const bool only_ref = refs_stand_alone_ && schema->contains("$ref");
  const uint32_t types = only_ref ? kAllTypes : types_of(schema);
  for (const auto& [key, value] : schema->items()) {
    const auto is_it = [&, name = std::string_view(key)](const Keyword& keyword) {
      return keyword.name == name;
    };
    const auto known = std::find_if(std::begin(kKeywords), std::end(kKeywords), is_it);
    if (only_ref && key != "$ref") continue;
    if (known == std::end(kKeywords)) {
      if ((key == "$id" || key == "id") && schema != &root_ && value.is_string() &&
          !value.get_ref<const std::string&>().starts_with("#"))
        fail(schema,
             fmt::format("'{}' is only supported at the root, as it changes what references mean", key));
      if (std::find(std::begin(kAnnotations), std::end(kAnnotations), key) != std::end(kAnnotations) ||
          key.starts_with("x-"))
        continue;
      fail(schema, fmt::format("keyword '{}' is not supported", key.substr(0, 60)));
    }
    if (!has_form(value, known->form))
      fail(schema, fmt::format("'{}': {} was expected", key, expected(known->form)));
    if (key == "uniqueItems" && value != false && (types & kArray) != 0)
      fail(schema, "keyword 'uniqueItems' is not supported");
  }
}

bool SchemaDocument::says_something(const OrderedJson& schema) {
  constexpr std::string_view kCombined[] = {"$ref", "allOf", "anyOf", "oneOf"};
  return std::any_of(std::begin(kKeywords), std::end(kKeywords), [&](const Keyword& keyword) {
    return schema.contains(std::string(keyword.name)) &&
           std::find(std::begin(kCombined), std::end(kCombined), keyword.name) == std::end(kCombined);
  });
}

uint32_t SchemaDocument::types_of(Schema schema) const {
  if (schema->is_boolean()) return schema->get<bool>() ? kAllTypes : 0U;
  if (!schema->contains("type")) return kAllTypes;
  const OrderedJson& type = (*schema)["type"];
  constexpr std::pair<std::string_view, uint32_t> kNames[] = {
      {"null", kNull},     {"boolean", kBoolean}, {"object", kObject},  {"array", kArray},
      {"string", kString}, {"number", kNumbers},  {"integer", kInteger}};
  uint32_t types = 0;
  const auto add = [&](const OrderedJson& name) {
    const auto* const known = std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& entry) {
      return name.is_string() && entry.first == name.template get_ref<const std::string&>();
    });
    if (known == std::end(kNames)) fail(schema, "'type': the name of a JSON type was expected");
    types |= known->second;
  };
  if (!type.is_array()) add(type);
  if (type.is_array())
    for (const OrderedJson& name : type) add(name);
  return types;
}

}  // namespace llmhost::text::grammar
