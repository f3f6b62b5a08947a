#include "serve/api/parameters.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/names.h"
#include "serve/api/api_error.h"
#include "serve/api/body_limits.h"
#include "serve/api/parameter_table.h"

namespace llmhost::serve {
namespace {

// Whole numbers that a double holds exactly.
constexpr double kExactIntegers = 9007199254740992.0;

uint32_t kind_of(const OrderedJson& value) {
  switch (value.type()) {
    case OrderedJson::value_t::boolean:
      return kBool;
    case OrderedJson::value_t::number_integer:
    case OrderedJson::value_t::number_unsigned:
      return kInteger;
    case OrderedJson::value_t::number_float: {
      const auto number = value.get<double>();
      const bool whole = std::trunc(number) == number && std::abs(number) <= kExactIntegers;
      return whole ? uint32_t{kInteger} : uint32_t{kNumber};
    }
    case OrderedJson::value_t::string:
      return kString;
    case OrderedJson::value_t::array:
      return kList;
    case OrderedJson::value_t::object:
      return kObject;
    default:
      return 0;
  }
}

bool fits(uint32_t kinds, const OrderedJson& value) {
  const uint32_t kind = kind_of(value);
  return (kinds & kind) != 0 || (kind == kInteger && (kinds & kNumber) != 0);
}

bool in_range(const Parameter& p, const OrderedJson& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return false;
  const auto number = value.get<double>();
  return number <= p.most && (p.above_least ? number > p.least : number >= p.least);
}

[[noreturn]] void refuse(const Parameter& p, std::string_view got) {
  throw bad_field(p.name, fmt::format("got {}, expected {}", got, describe(p)));
}

std::string what_it_is(const OrderedJson& value) {
  if (value.is_number() || value.is_boolean()) return value.dump();
  if (value.is_string()) return "a string";
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  return value.is_object() ? fmt::format("an object of {}", value.size()) : "null";
}

void check_scalar(const Parameter& p, const OrderedJson& value) {
  if (value.is_number() && !in_range(p, value)) refuse(p, what_it_is(value));
  if (!value.is_string()) return;
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() > p.max_bytes) refuse(p, fmt::format("a string of {} bytes", text.size()));
  if (!p.values.empty() && std::find(p.values.begin(), p.values.end(), text) == p.values.end())
    refuse(p, "another string");
}

void check_value(const Parameter& p, const OrderedJson& value) {
  if (!fits(p.kinds, value)) refuse(p, what_it_is(value));
  check_scalar(p, value);
  if (!value.is_structured()) return;
  if (value.size() > p.max_items) refuse(p, what_it_is(value));
  if (p.item_kinds == 0) return;
  for (const auto& item : value) {
    if (!fits(p.item_kinds, item)) refuse(p, fmt::format("a list with {}", what_it_is(item)));
    check_scalar(p, item);
  }
}

bool is_listed(const Parameter& p, const OrderedJson& value) {
  return std::any_of(p.values.begin(), p.values.end(),
                     [&](std::string_view text) { return OrderedJson::parse(text) == value; });
}

// False: the field is to be left out.
bool check_field(const Parameter& p, const OrderedJson& value) {
  switch (p.effect) {
    case Parameter::Effect::kApplied:
      check_value(p, value);
      return true;
    case Parameter::Effect::kWithoutEffect:
      return false;
    case Parameter::Effect::kFixed:
      if (!is_listed(p, value)) refuse(p, what_it_is(value));
      return false;
    case Parameter::Effect::kRefused:
      throw bad_field(p.name, fmt::format("is not supported: {}", p.documentation), "unsupported_parameter");
  }
  return false;
}

std::vector<std::string> names_of(Body body) {
  std::vector<std::string> names;
  for (const Parameter& p : all_parameters())
    if ((p.bodies & body) != 0 && p.effect != Parameter::Effect::kRefused) names.emplace_back(p.name);
  return names;
}

[[noreturn]] void refuse_unknown(Body body, std::string_view name) {
  const std::string shown = shown_name(name);
  throw bad_field(shown, "there is no such field in this request" + did_you_mean(shown, names_of(body)),
                  "unknown_parameter");
}

}  // namespace

std::string_view to_text(Body body) {
  switch (body) {
    case kChatBody:
      return "chat";
    case kCompletionBody:
      return "completion";
    case kResponseBody:
      return "response";
    case kEmbeddingBody:
      return "embedding";
    case kTokenizeBody:
      return "tokenize";
    case kDetokenizeBody:
      return "detokenize";
    case kTemplateBody:
      return "template";
    case kGenerateBody:
      return "generate";
    case kGenerateParametersBody:
      return "generate.parameters";
  }
  return "";
}

std::span<const Parameter> all_parameters() {
  static const std::vector<Parameter> table = [] {
    std::vector<Parameter> all;
    for (const auto part : {input_parameters, sampling_parameters, output_parameters, generate_parameters,
                            unsupported_parameters}) {
      std::vector<Parameter> some = part();
      std::move(some.begin(), some.end(), std::back_inserter(all));
    }
    return all;
  }();
  return table;
}

const Parameter* find_parameter(Body body, std::string_view name) {
  for (const Parameter& p : all_parameters())
    if ((p.bodies & body) != 0 && p.name == name) return &p;
  return nullptr;
}

const OrderedJson* CheckedBody::find(std::string_view name) const {
  const auto found = json.find(name);
  return found == json.end() ? nullptr : &*found;
}

std::string CheckedBody::text(std::string_view name) const {
  const OrderedJson* value = find(name);
  return value == nullptr || !value->is_string() ? std::string() : value->get<std::string>();
}

bool CheckedBody::flag(std::string_view name, bool otherwise) const {
  const OrderedJson* value = find(name);
  return value == nullptr || !value->is_boolean() ? otherwise : value->get<bool>();
}

int64_t CheckedBody::integer(std::string_view name, int64_t otherwise) const {
  const OrderedJson* value = find(name);
  return value == nullptr || !value->is_number() ? otherwise : value->get<int64_t>();
}

CheckedBody check_object(Body body, OrderedJson json, Compat compat) {
  if (!json.is_object()) throw bad_field("body", "must be a JSON object");
  CheckedBody checked;
  checked.json = OrderedJson::object();
  for (auto& [name, value] : json.items()) {
    if (value.is_null()) continue;
    const Parameter* p = find_parameter(body, name);
    const bool unknown = p == nullptr || p->effect == Parameter::Effect::kRefused;
    if (unknown && compat == Compat::kLenient) {
      checked.ignored.push_back(shown_name(name));
      continue;
    }
    if (p == nullptr) refuse_unknown(body, name);
    if (check_field(*p, value)) checked.json.emplace(name, std::move(value));
  }
  for (const Parameter& p : all_parameters())
    if ((p.bodies & body) != 0 && p.required && !checked.json.contains(p.name))
      throw bad_field(p.name, fmt::format("is missing; expected {}", describe(p)),
                      "missing_required_parameter");
  return checked;
}

CheckedBody check_body(Body body, std::string_view text, Compat compat) {
  return check_object(body, parse_request_body(body, text), compat);
}

void apply_parameters(Body body, const CheckedBody& checked, TextOptions& options) {
  for (const auto& [name, value] : checked.json.items())
    if (const Parameter* p = find_parameter(body, name); p != nullptr && p->apply != nullptr)
      p->apply(value, options);
}

}  // namespace llmhost::serve
