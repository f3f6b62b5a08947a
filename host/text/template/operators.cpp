#include "text/template/operators.h"

#include <cmath>
#include <limits>

#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void too_big() {
  fail("the integer is too big: integers have at most 127 bits here");
}

Integer integer_power(Integer base, Integer exponent) {
  Integer result = 1;
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  if (exponent > 127) too_big();
  for (Integer i = 0; i < exponent; ++i)
    if (__builtin_mul_overflow(result, base, &result)) too_big();
  return result;
}

Integer floor_divide(Integer a, Integer b) {
  if (b == 0) fail("integer division or modulo by zero");
  if (b == -1) {
    Integer negated;
    if (__builtin_sub_overflow(Integer{0}, a, &negated)) too_big();
    return negated;
  }
  const Integer quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

Value real_power(double a, double b) {
  if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
  if (a < 0 && b != std::floor(b)) fail("complex numbers are not supported");
  return Value::real(std::pow(a, b));
}

Value integers(BinaryOp op, Integer a, Integer b) {
  Integer result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &result)) too_big();
      return Value::integer(result);
    case BinaryOp::kSub:
      if (__builtin_sub_overflow(a, b, &result)) too_big();
      return Value::integer(result);
    case BinaryOp::kMul:
      if (__builtin_mul_overflow(a, b, &result)) too_big();
      return Value::integer(result);
    case BinaryOp::kDiv:
      if (b == 0) fail("division by zero");
      return Value::real(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case BinaryOp::kFloorDiv:
      return Value::integer(floor_divide(a, b));
    case BinaryOp::kMod:
      return Value::integer(python_mod(a, b));
    case BinaryOp::kPow:
      if (b < 0) return real_power(static_cast<double>(a), static_cast<double>(b));
      return Value::integer(integer_power(a, b));
  }
  return {};
}

Value reals(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value::real(a + b);
    case BinaryOp::kSub:
      return Value::real(a - b);
    case BinaryOp::kMul:
      return Value::real(a * b);
    case BinaryOp::kDiv:
      if (b == 0) fail("float division by zero");
      return Value::real(a / b);
    case BinaryOp::kFloorDiv: {
      if (b == 0) fail("float floor division by zero");
      const double remainder = python_mod(a, b);
      return Value::real(std::round((a - remainder) / b));
    }
    case BinaryOp::kMod:
      return Value::real(python_mod(a, b));
    case BinaryOp::kPow:
      return real_power(a, b);
  }
  return {};
}

Value repeat(const Value& value, Integer count) {
  const size_t size = value.is_string() ? value.text().size() : value.items().size() * sizeof(Value);
  const size_t times = count <= 0 ? 0 : static_cast<size_t>(std::min<Integer>(count, Integer{1} << 40));
  if (size != 0 && times > (size_t{1} << 40) / size) fail("the repeated value is too large");
  Meter::expect_bytes(size * times);
  if (value.is_string()) {
    std::string out;
    out.reserve(size * times);
    for (size_t i = 0; size != 0 && i < times; ++i) out += value.text();
    return Value::string(std::move(out), value.is_markup());
  }
  Values out;
  out.reserve(value.items().size() * times);
  for (size_t i = 0; size != 0 && i < times; ++i)
    out.insert(out.end(), value.items().begin(), value.items().end());
  return value.is(Kind::kList) ? Value::list(std::move(out)) : Value::tuple(std::move(out));
}

Value concatenate(const Value& a, const Value& b) {
  if (a.is_string()) {
    Meter::expect_bytes(a.text().size() + b.text().size());
    if (a.is_markup() == b.is_markup()) return Value::string(a.text() + b.text(), a.is_markup());
    return Value::string((a.is_markup() ? a.text() : escape_html(a.text())) +
                             (b.is_markup() ? b.text() : escape_html(b.text())),
                         true);
  }
  Values out = a.items();
  out.insert(out.end(), b.items().begin(), b.items().end());
  return a.is(Kind::kList) ? Value::list(std::move(out)) : Value::tuple(std::move(out));
}

std::optional<Integer> clamp_index(const Value& value) {
  if (value.is_none()) return std::nullopt;
  if (!value.is_integral()) fail("slice indices must be integers or None, not {}", value.type_name());
  constexpr Integer kBound = Integer{1} << 62;
  return std::min(std::max(value.as_integer(), -kBound), kBound);
}

struct Walk {
  Integer start, stop, step;
};

// Python's slice.indices().
Walk slice_walk(const Slice& slice, Integer size) {
  const Integer step = slice.step.value_or(1);
  if (step == 0) fail("slice step cannot be zero");
  const Integer low = step < 0 ? -1 : 0;
  const Integer high = step < 0 ? size - 1 : size;
  const auto place = [&](Integer index) {
    if (index < 0) return std::max(index + size, low);
    return std::min(index, high);
  };
  const Integer start = slice.start ? place(*slice.start) : (step < 0 ? high : low);
  const Integer stop = slice.stop ? place(*slice.stop) : (step < 0 ? low : high);
  return {start, stop, step};
}

template <typename Visit>
void walk_slice(const Walk& walk, Visit visit) {
  for (Integer i = walk.start; walk.step > 0 ? i < walk.stop : i > walk.stop; i += walk.step)
    visit(static_cast<size_t>(i));
}

std::string slice_text(const std::string& text, const Slice& slice) {
  Meter::work(text.size() / 64);
  if (is_ascii(text)) {
    const Walk walk = slice_walk(slice, static_cast<Integer>(text.size()));
    if (walk.step == 1)
      return walk.stop > walk.start
                 ? text.substr(static_cast<size_t>(walk.start), static_cast<size_t>(walk.stop - walk.start))
                 : std::string();
    std::string out;
    walk_slice(walk, [&](size_t i) { out += text[i]; });
    return out;
  }
  const std::u32string codes = decode(text);
  std::string out;
  walk_slice(slice_walk(slice, static_cast<Integer>(codes.size())),
             [&](size_t i) { append_char(out, codes[i]); });
  return out;
}

std::string object_repr(const Value& object) {
  return object.is_none() ? "None" : object.type_name() + " object";
}

// The element for an index or key; nullopt when Python would raise TypeError or LookupError.
std::optional<Value> subscript(const Value& object, const Value& key) {
  switch (object.kind()) {
    case Kind::kDict: {
      if (!hashable(key)) return std::nullopt;
      const Value* found = object.dict().find(key);
      return found == nullptr ? std::nullopt : std::optional<Value>(*found);
    }
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kString: {
      if (!key.is_integral()) return std::nullopt;
      const auto size = static_cast<Integer>(*length_of(object));
      const Integer index = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
      if (index < 0 || index >= size) return std::nullopt;
      if (!object.is_string()) return object.items()[static_cast<size_t>(index)];
      Meter::work(object.text().size() / 64);
      const std::string_view text = object.text();
      const std::string_view rest = text.substr(byte_offset(text, static_cast<size_t>(index)));
      return Value::string(std::string(rest.substr(0, char_size(rest))), object.is_markup());
    }
    case Kind::kObject:
      return object.object().element(key);
    default:
      return std::nullopt;
  }
}

// Names every Python object has; the sandbox keeps them away.
bool is_python_internal(std::string_view name) {
  static constexpr std::string_view kNames[] = {"__class__",
                                                "__doc__",
                                                "__init__",
                                                "__dict__",
                                                "__module__",
                                                "__dir__",
                                                "__repr__",
                                                "__str__",
                                                "__eq__",
                                                "__ne__",
                                                "__hash__",
                                                "__lt__",
                                                "__le__",
                                                "__gt__",
                                                "__ge__",
                                                "__new__",
                                                "__reduce__",
                                                "__sizeof__",
                                                "__format__",
                                                "__setattr__",
                                                "__delattr__",
                                                "__getattribute__",
                                                "__init_subclass__",
                                                "__subclasshook__",
                                                "__reduce_ex__"};
  for (std::string_view known : kNames)
    if (known == name) return true;
  return false;
}

Value unsafe(const Value& object, std::string_view name) {
  return Value::undefined(
      fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, object.type_name()));
}

bool changes_container(const Value& object, std::string_view name) {
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is(Kind::kList))
    for (std::string_view known : kList)
      if (known == name) return true;
  if (object.is(Kind::kDict))
    for (std::string_view known : kDict)
      if (known == name) return true;
  return false;
}

}  // namespace

Integer python_mod(Integer a, Integer b) {
  if (b == 0) fail("integer division or modulo by zero");
  if (b == -1) return 0;
  const Integer remainder = a % b;
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

double python_mod(double a, double b) {
  if (b == 0) fail("float modulo");
  const double remainder = std::fmod(a, b);
  if (remainder == 0) return std::copysign(0.0, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

Value binary(BinaryOp op, const Value& a, const Value& b) {
  if (op == BinaryOp::kMod && a.is_string()) {
    if (a.is_markup()) return Value::string(percent_format(a.text(), escaped(b)), true);
    return text_value(percent_format(a.text(), b));
  }
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) fail("{}", value->undefined_message());
  if (a.is_integral() && b.is_integral()) return integers(op, a.as_integer(), b.as_integer());
  if (a.is_number() && b.is_number()) return reals(op, a.as_real(), b.as_real());
  if (op == BinaryOp::kMul) {
    if ((a.is_string() || a.is_sequence()) && b.is_integral()) return repeat(a, b.as_integer());
    if ((b.is_string() || b.is_sequence()) && a.is_integral()) return repeat(b, a.as_integer());
  }
  if (op == BinaryOp::kAdd && a.kind() == b.kind() && (a.is_string() || a.is_sequence()))
    return concatenate(a, b);
  fail("unsupported operand types for {}: '{}' and '{}'", kSymbols[static_cast<size_t>(op)], a.type_name(),
       b.type_name());
}

Value negate(const Value& value) {
  if (value.is_undefined()) fail("{}", value.undefined_message());
  if (value.is(Kind::kFloat)) return Value::real(-value.as_real());
  if (!value.is_integral()) fail("bad operand type for unary -: '{}'", value.type_name());
  return integers(BinaryOp::kSub, 0, value.as_integer());
}

Value positive(const Value& value) {
  if (value.is_undefined()) fail("{}", value.undefined_message());
  if (value.is(Kind::kFloat)) return value;
  if (!value.is_integral()) fail("bad operand type for unary +: '{}'", value.type_name());
  return Value::integer(value.as_integer());
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) fail("'in <string>' requires string as left operand, not {}", item.type_name());
    Meter::work(container.text().size() / 64);
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is(Kind::kDict)) {
    if (!hashable(item)) fail("unhashable type: '{}'", item.type_name());
    return container.dict().find(item) != nullptr;
  }
  const auto items = iterate(container);
  for (const Value& known : items->items)
    if (equal(known, item)) return true;
  return false;
}

bool compare(CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::kEq:
      return equal(a, b);
    case CompareOp::kNe:
      return !equal(a, b);
    case CompareOp::kLt:
      return order(a, b, "<") == -1;
    case CompareOp::kLe:
      return order(a, b, "<=").value_or(1) <= 0;
    case CompareOp::kGt:
      return order(a, b, ">") == 1;
    case CompareOp::kGe:
      return order(a, b, ">=").value_or(-1) >= 0;
    case CompareOp::kIn:
      return contains(b, a);
    case CompareOp::kNotIn:
      return !contains(b, a);
  }
  return false;
}

std::optional<Value> python_attribute(const Value& object, std::string_view name) {
  if (is_python_internal(name) || changes_container(object, name)) return unsafe(object, name);
  switch (object.kind()) {
    case Kind::kString:
      return string_method(object, name);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
      return container_method(object, name);
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return number_attribute(object, name);
    case Kind::kObject:
      return object.object().attribute(name);
    default:
      return std::nullopt;
  }
}

Value get_attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) {
    if (is_python_internal(name)) return unsafe(object, name);
    fail("{}", object.undefined_message());
  }
  if (auto found = python_attribute(object, name)) return *found;
  if (object.is(Kind::kDict)) {
    if (const Value* found = object.dict().find(name)) return *found;
  } else if (object.is(Kind::kObject)) {
    if (auto found = object.object().element(text_value(std::string(name)))) return *found;
  }
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", object_repr(object), name));
}

Value get_item(const Value& object, const Value& key) {
  if (object.is_undefined()) fail("{}", object.undefined_message());
  if (auto found = subscript(object, key)) return *found;
  if (!key.is_string())
    return Value::undefined(fmt::format("{} has no element {}", object_repr(object), repr_of(key)));
  if (auto found = python_attribute(object, key.text())) return *found;
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", object_repr(object), key.text()));
}

Slice make_slice(const Value& start, const Value& stop, const Value& step) {
  return {clamp_index(start), clamp_index(stop), clamp_index(step)};
}

Value get_slice(const Value& object, const Slice& slice) {
  if (object.is_undefined()) fail("{}", object.undefined_message());
  if (object.is_string()) return Value::string(slice_text(object.text(), slice), object.is_markup());
  if (object.is_sequence()) {
    Values out;
    walk_slice(slice_walk(slice, static_cast<Integer>(object.items().size())),
               [&](size_t i) { out.push_back(object.items()[i]); });
    return object.is(Kind::kList) ? Value::list(std::move(out)) : Value::tuple(std::move(out));
  }
  if (object.is(Kind::kObject)) {
    if (auto* range = dynamic_cast<Range*>(&object.object())) {
      const Walk walk = slice_walk(slice, range->count());
      const Integer step = range->at(1) - range->at(0);
      return Value::object(
          std::make_shared<Range>(range->at(walk.start), range->at(walk.stop), step * walk.step));
    }
  }
  fail("'{}' object cannot be sliced", object.type_name());
}

Integer python_index(const Value& value, std::string_view what) {
  if (value.is_undefined()) fail("{}", value.undefined_message());
  if (!value.is_integral()) fail("{} must be an integer, not {}", what, value.type_name());
  return value.as_integer();
}

Value escaped(const Value& value) {
  if (value.is_string()) return value.is_markup() ? value : Value::string(escape_html(value.text()), true);
  if (value.is_sequence()) {
    Values items;
    for (const Value& item : value.items()) items.push_back(escaped(item));
    return value.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  if (!value.is(Kind::kDict)) return value;
  std::vector<DictNode::Entry> entries;
  for (const auto& [key, item] : value.dict().entries()) entries.emplace_back(key, escaped(item));
  return Value::dict(std::make_shared<DictNode>(std::move(entries)));
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace llmhost::text::jinja
