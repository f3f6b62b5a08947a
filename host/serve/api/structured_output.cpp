#include "serve/api/structured_output.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "serve/api/api_error.h"

namespace llmhost::serve {
namespace {

using text::GrammarKind;
using text::GrammarSpec;

GrammarSpec schema_spec(const OrderedJson& schema, std::string_view field) {
  if (schema.is_string()) return {GrammarKind::kJsonSchema, schema.get<std::string>()};
  if (!schema.is_object() && !schema.is_boolean()) throw bad_field(field, "must be a JSON schema");
  return {GrammarKind::kJsonSchema, schema.dump()};
}

std::string string_of(const OrderedJson& value, std::string_view field) {
  if (!value.is_string()) throw bad_field(field, "must be a string");
  return value.get<std::string>();
}

void allow_only(const OrderedJson& object, const std::string& field,
                std::initializer_list<std::string_view> names) {
  for (const auto& [name, value] : object.items()) {
    if (value.is_null() || std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::string known;
    for (const std::string_view one : names) known += (known.empty() ? "" : ", ") + std::string(one);
    throw unknown_field(field, name, known);
  }
}

OrderedJson value_of(const OrderedJson& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? OrderedJson() : *found;
}

// The schema beside its name.
GrammarSpec named_schema(const OrderedJson& object, const std::string& field) {
  if (const OrderedJson strict = value_of(object, "strict"); !strict.is_null() && !strict.is_boolean())
    throw bad_field(field + ".strict", "must be true or false");
  return schema_spec(value_of(object, "schema"), field + ".schema");
}

// `has_inner`: the schema of the type json_schema stands in an object of that name.
std::optional<GrammarSpec> format_spec(const OrderedJson& format, const std::string& field, bool has_inner) {
  const std::string type = string_of(format.value("type", OrderedJson()), field + ".type");
  if (type == "text") {
    allow_only(format, field, {"type"});
    return std::nullopt;
  }
  if (type == "json_object") {
    allow_only(format, field, {"type", "schema"});
    const OrderedJson schema = value_of(format, "schema");
    if (!schema.is_null()) return schema_spec(schema, field + ".schema");
    return GrammarSpec{GrammarKind::kJsonObject, {}};
  }
  if (type == "regex") {
    allow_only(format, field, {"type", "pattern"});
    return GrammarSpec{GrammarKind::kRegex, string_of(value_of(format, "pattern"), field + ".pattern")};
  }
  if (type == "grammar") {
    allow_only(format, field, {"type", "grammar"});
    return GrammarSpec{GrammarKind::kEbnf, string_of(value_of(format, "grammar"), field + ".grammar")};
  }
  if (type != "json_schema")
    throw bad_field(field + ".type", "expected text, json_object, json_schema, regex or grammar");
  if (!has_inner) {
    allow_only(format, field, {"type", "name", "description", "schema", "strict"});
    return named_schema(format, field);
  }
  allow_only(format, field, {"type", "json_schema"});
  const OrderedJson inner = value_of(format, "json_schema");
  const std::string inner_field = field + ".json_schema";
  if (!inner.is_object()) throw bad_field(inner_field, "must be an object with name and schema");
  allow_only(inner, inner_field, {"name", "description", "schema", "strict"});
  return named_schema(inner, inner_field);
}

GrammarSpec structured_spec(const OrderedJson& outputs) {
  std::optional<GrammarSpec> spec;
  for (const auto& [name, value] : outputs.items()) {
    if (value.is_null()) continue;
    if (spec) throw bad_field("structured_outputs", "only one form at a time");
    if (name == "json")
      spec = schema_spec(value, "structured_outputs.json");
    else if (name == "json_object")
      spec = GrammarSpec{GrammarKind::kJsonObject, {}};
    else if (name == "regex")
      spec = GrammarSpec{GrammarKind::kRegex, string_of(value, "structured_outputs.regex")};
    else if (name == "choice")
      spec = GrammarSpec{GrammarKind::kChoices, value.dump()};
    else if (name == "grammar")
      spec = GrammarSpec{GrammarKind::kEbnf, string_of(value, "structured_outputs.grammar")};
    else
      throw unknown_field("structured_outputs", name, "json, json_object, regex, choice and grammar");
  }
  if (!spec) throw bad_field("structured_outputs", "says no form");
  return *spec;
}

GrammarSpec spec_of(std::string_view name, const OrderedJson& value) {
  if (name == "structured_outputs") return structured_spec(value);
  if (name == "guided_json") return schema_spec(value, name);
  if (name == "guided_regex") return {GrammarKind::kRegex, value.get<std::string>()};
  if (name == "guided_choice") return {GrammarKind::kChoices, value.dump()};
  return {GrammarKind::kEbnf, value.get<std::string>()};
}

}  // namespace

std::optional<GrammarSpec> answer_form(const CheckedBody& checked) {
  std::optional<GrammarSpec> spec;
  if (const OrderedJson* format = checked.find("response_format"))
    spec = format_spec(*format, "response_format", true);
  constexpr std::array<std::string_view, 6> kForms = {"structured_outputs", "guided_json",    "guided_regex",
                                                      "guided_choice",      "guided_grammar", "grammar"};
  for (const std::string_view name : kForms) {
    const OrderedJson* value = checked.find(name);
    if (value == nullptr) continue;
    if (spec) throw bad_field(name, "the answer's form is said twice");
    spec = spec_of(name, *value);
  }
  return spec;
}

std::optional<GrammarSpec> response_text_form(const CheckedBody& checked) {
  const OrderedJson* text = checked.find("text");
  if (text == nullptr) return std::nullopt;
  for (const auto& [name, value] : text->items())
    if (name != "format" && !(name == "verbosity" && (value.is_null() || value == "medium")))
      throw bad_field("text", "only format is supported in it");
  const auto format = text->find("format");
  if (format == text->end() || format->is_null()) return std::nullopt;
  if (!format->is_object()) throw bad_field("text.format", "must be an object");
  return format_spec(*format, "text.format", false);
}

std::optional<GrammarSpec> generate_form(const CheckedBody& checked) {
  const OrderedJson* format = checked.find("response_format");
  if (format == nullptr) return std::nullopt;
  return format_spec(*format, "response_format", false);
}

std::shared_ptr<const text::Grammar> compile_form(const std::optional<GrammarSpec>& spec,
                                                  text::GrammarCache& cache, std::string_view field) {
  if (!spec) return nullptr;
  try {
    return cache.get(*spec);
  } catch (const Error& error) {
    throw bad_field(field, error.what(), "invalid_grammar");
  }
}

}  // namespace llmhost::serve
