// What the table of parameters says to people (Markdown) and to programs (JSON schema).
#include <fmt/core.h>

#include <array>

#include "serve/api/parameters.h"

namespace llmhost::serve {
namespace {

using Effect = Parameter::Effect;

struct KindName {
  Kind kind;
  std::string_view text;    // in messages
  std::string_view schema;  // in JSON schema
};

constexpr std::array<KindName, 6> kKinds = {{{kBool, "true or false", "boolean"},
                                             {kInteger, "an integer", "integer"},
                                             {kNumber, "a number", "number"},
                                             {kString, "a string", "string"},
                                             {kList, "a list", "array"},
                                             {kObject, "an object", "object"}}};

constexpr std::array<std::pair<Body, std::string_view>, 9> kBodies = {
    {{kChatBody, "POST /v1/chat/completions"},
     {kCompletionBody, "POST /v1/completions"},
     {kResponseBody, "POST /v1/responses"},
     {kEmbeddingBody, "POST /v1/embeddings"},
     {kTokenizeBody, "POST /tokenize"},
     {kDetokenizeBody, "POST /detokenize"},
     {kTemplateBody, "POST /apply-template"},
     {kGenerateBody, "POST /generate, /generate_stream, /"},
     {kGenerateParametersBody, "`parameters` of /generate"}}};

std::string number_text(double value) {
  return fmt::format("{:.17g}", value);
}

std::string range_text(const Parameter& p) {
  if (p.most == 9223372036854775807.0) return p.least < 0 ? "of 64 bits" : "of 63 bits, not negative";
  return p.above_least ? fmt::format("above {} up to {}", number_text(p.least), number_text(p.most))
                       : fmt::format("from {} to {}", number_text(p.least), number_text(p.most));
}

bool has_numbers(const Parameter& p) {
  constexpr uint32_t kNumbers = kInteger | kNumber;
  return (p.kinds & kNumbers) != 0 || (p.item_kinds & kNumbers) != 0;
}

std::string kinds_text(uint32_t kinds) {
  std::string text;
  for (const KindName& kind : kKinds)
    if ((kinds & kind.kind) != 0) text += (text.empty() ? "" : " or ") + std::string(kind.text);
  return text;
}

std::string values_text(const Parameter& p) {
  std::string text;
  for (const std::string_view value : p.values) text += (text.empty() ? "" : ", ") + std::string(value);
  return text;
}

// A table's cell: no bars, no line ends.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out.empty() ? "-" : out;
}

std::string effect_text(const Parameter& p) {
  switch (p.effect) {
    case Effect::kApplied:
      return std::string(p.documentation);
    case Effect::kWithoutEffect:
      return fmt::format("Without effect. {}", p.documentation);
    case Effect::kFixed:
      return fmt::format("Nothing else is taken. {}", p.documentation);
    case Effect::kRefused:
      return fmt::format("Refused: {}.", p.documentation);
  }
  return {};
}

void append_rows(std::string& out, Body body) {
  out += "| field | value | default | meaning |\n|---|---|---|---|\n";
  for (const Parameter& p : all_parameters()) {
    if ((p.bodies & body) == 0) continue;
    const std::string value =
        p.effect == Effect::kRefused || p.effect == Effect::kWithoutEffect ? std::string() : describe(p);
    out += fmt::format("| `{}` | {} | {} | {} |\n", p.name, cell(value),
                       p.required ? "required" : cell(p.default_text), cell(effect_text(p)));
  }
}

OrderedJson type_schema(const Parameter& p, Kind kind) {
  OrderedJson schema = OrderedJson::object();
  for (const KindName& name : kKinds)
    if (name.kind == kind) schema["type"] = name.schema;
  const auto bound = [&](OrderedJson& of) {
    const bool whole = of["type"] == "integer";
    const auto number = [&](double v) {
      return whole && v < 9.2e18 && v > -9.2e18 ? OrderedJson(static_cast<int64_t>(v))
             : whole                            ? OrderedJson(v < 0 ? INT64_MIN : INT64_MAX)
                                                : OrderedJson(v);
    };
    of[p.above_least ? "exclusiveMinimum" : "minimum"] = number(p.least);
    of["maximum"] = number(p.most);
  };
  if (kind == kInteger || kind == kNumber) bound(schema);
  if (kind == kString && !p.values.empty()) schema["enum"] = p.values;
  if (kind == kList) {
    schema["maxItems"] = p.max_items;
    for (const KindName& name : kKinds) {
      if ((p.item_kinds & name.kind) == 0) continue;
      schema["items"]["type"] = name.schema;
      if (name.kind == kInteger || name.kind == kNumber) bound(schema["items"]);
    }
  }
  if (kind == kObject) schema["maxProperties"] = p.max_items;
  return schema;
}

OrderedJson value_schema(const Parameter& p) {
  if (p.effect == Effect::kWithoutEffect) return OrderedJson::object();
  if (p.effect == Effect::kFixed) {
    OrderedJson values = OrderedJson::array();
    for (const std::string_view value : p.values) values.push_back(OrderedJson::parse(value));
    values.push_back(nullptr);
    return {{"enum", values}};
  }
  OrderedJson branches = OrderedJson::array();
  for (const KindName& kind : kKinds)
    if ((p.kinds & kind.kind) != 0) branches.push_back(type_schema(p, kind.kind));
  if (!p.required) branches.push_back({{"type", "null"}});
  return branches.size() == 1 ? branches.front() : OrderedJson{{"anyOf", branches}};
}

}  // namespace

std::string describe(const Parameter& p) {
  if (p.effect == Effect::kFixed) return values_text(p);
  std::string text = kinds_text(p.kinds);
  if (p.item_kinds != 0) text += fmt::format(" of {}", kinds_text(p.item_kinds));
  if (has_numbers(p)) text += ' ' + range_text(p);
  if (!p.values.empty()) text += fmt::format(" ({})", values_text(p));
  if ((p.kinds & (kList | kObject)) != 0) text += fmt::format(", up to {} entries", p.max_items);
  if (p.max_bytes < (size_t{1} << 24)) text += fmt::format(", up to {} bytes", p.max_bytes);
  return text;
}

std::string parameters_document() {
  std::string out =
      "# Fields of requests\n\n"
      "Made from the table that requests are checked against. A field that is not listed is answered with "
      "400 "
      "and its name; with `api.compat: lenient` it is left out and listed in the answer as `ignored`. `null` "
      "counts as not given.\n";
  for (const auto& [body, title] : kBodies) {
    out += fmt::format("\n## {}\n\n", title);
    append_rows(out, body);
  }
  return out;
}

OrderedJson parameters_schema(Body body) {
  OrderedJson properties = OrderedJson::object();
  OrderedJson required = OrderedJson::array();
  for (const Parameter& p : all_parameters()) {
    if ((p.bodies & body) == 0 || p.effect == Effect::kRefused) continue;
    OrderedJson schema = value_schema(p);
    schema["description"] = p.documentation;
    properties[std::string(p.name)] = std::move(schema);
    if (p.required) required.push_back(p.name);
  }
  OrderedJson out = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  if (!required.empty()) out["required"] = required;
  return out;
}

}  // namespace llmhost::serve
