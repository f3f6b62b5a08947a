// Jinja's tests: `value is name(arguments)`.
#include <unordered_map>

#include "text/template/filters.h"
#include "text/template/operators.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

template <CompareOp kOp>
bool compares(Runtime&, const Value& value, Arguments& arguments) {
  return compare(kOp, value, *arguments.take("comparison", {"other"}, 1)[0]);
}

template <Kind kKind>
bool of_kind(Runtime&, const Value& value, Arguments& arguments) {
  arguments.take("test", {});
  return value.is(kKind);
}

template <bool kTruth>
bool is_truth(Runtime&, const Value& value, Arguments&) {
  return value.is(Kind::kBool) && value.as_bool() == kTruth;
}

template <bool kDefined>
bool is_defined(Runtime&, const Value& value, Arguments&) {
  return value.is_undefined() != kDefined;
}

template <int kRest>
bool has_parity(Runtime&, const Value& value, Arguments&) {
  return equal(binary(BinaryOp::kMod, value, Value::integer(2)), Value::integer(kRest));
}

bool divisible(Runtime&, const Value& value, Arguments& arguments) {
  const Value number = *arguments.take("divisibleby", {"num"}, 1)[0];
  return equal(binary(BinaryOp::kMod, value, number), Value::integer(0));
}

bool is_escaped(Runtime&, const Value& value, Arguments&) {
  return value.is_markup();
}
bool is_number(Runtime&, const Value& value, Arguments&) {
  return value.is_number();
}

template <bool kUpper>
bool has_case(Runtime&, const Value& value, Arguments&) {
  bool cased = false;
  for (char32_t code : decode(str_of(value))) {
    if (is_title(code) || (kUpper ? is_lower(code) : is_upper(code))) return false;
    cased |= kUpper ? is_upper(code) : is_lower(code);
  }
  return cased;
}

bool is_sequence(Runtime&, const Value& value, Arguments&) {
  if (value.is(Kind::kObject)) return dynamic_cast<Range*>(&value.object()) != nullptr;
  return length_of(value).has_value();
}

bool is_iterable(Runtime&, const Value& value, Arguments&) {
  if (!value.is(Kind::kObject)) return length_of(value).has_value();
  Object& object = value.object();
  return object.length().has_value() || dynamic_cast<Iterator*>(&object) != nullptr;
}

bool is_callable(Runtime&, const Value& value, Arguments&) {
  return value.is_undefined() || (value.is(Kind::kObject) && value.object().callable());
}

bool is_same(Runtime&, const Value& value, Arguments& arguments) {
  return identical(value, *arguments.take("sameas", {"other"}, 1)[0]);
}

bool is_in(Runtime&, const Value& value, Arguments& arguments) {
  return contains(*arguments.take("in", {"seq"}, 1)[0], value);
}

bool is_filter(Runtime&, const Value& value, Arguments&) {
  return value.is_string() && find_filter(value.text()) != nullptr;
}
bool is_test(Runtime&, const Value& value, Arguments&) {
  return value.is_string() && find_test(value.text()) != nullptr;
}

}  // namespace

Test find_test(std::string_view name) {
  static const std::unordered_map<std::string_view, Test> kTests = {
      {"boolean", of_kind<Kind::kBool>},
      {"callable", is_callable},
      {"defined", is_defined<true>},
      {"divisibleby", divisible},
      {"escaped", is_escaped},
      {"even", has_parity<0>},
      {"false", is_truth<false>},
      {"filter", is_filter},
      {"float", of_kind<Kind::kFloat>},
      {"in", is_in},
      {"integer", of_kind<Kind::kInt>},
      {"iterable", is_iterable},
      {"lower", has_case<false>},
      {"mapping", of_kind<Kind::kDict>},
      {"none", of_kind<Kind::kNone>},
      {"number", is_number},
      {"odd", has_parity<1>},
      {"sameas", is_same},
      {"sequence", is_sequence},
      {"string", of_kind<Kind::kString>},
      {"test", is_test},
      {"true", is_truth<true>},
      {"undefined", is_defined<false>},
      {"upper", has_case<true>},
      {"eq", compares<CompareOp::kEq>},
      {"==", compares<CompareOp::kEq>},
      {"equalto", compares<CompareOp::kEq>},
      {"ne", compares<CompareOp::kNe>},
      {"!=", compares<CompareOp::kNe>},
      {"lt", compares<CompareOp::kLt>},
      {"<", compares<CompareOp::kLt>},
      {"lessthan", compares<CompareOp::kLt>},
      {"le", compares<CompareOp::kLe>},
      {"<=", compares<CompareOp::kLe>},
      {"gt", compares<CompareOp::kGt>},
      {">", compares<CompareOp::kGt>},
      {"greaterthan", compares<CompareOp::kGt>},
      {"ge", compares<CompareOp::kGe>},
      {">=", compares<CompareOp::kGe>},
  };
  const auto found = kTests.find(name);
  return found == kTests.end() ? nullptr : found->second;
}

}  // namespace llmhost::text::jinja
