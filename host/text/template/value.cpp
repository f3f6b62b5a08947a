#include "text/template/value.h"

#include <cmath>

#include "text/template/object.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

constexpr int kMaxNesting = 400;
constexpr size_t kIndexFrom = 12;  // smaller dicts are searched in order

int checked_nesting(int inner) {
  if (inner >= kMaxNesting) fail("values are nested more than {} deep", kMaxNesting);
  return inner + 1;
}

// Integers and floats: exact up to 64 bits, which long double holds.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral())
    return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer() ? 1 : 0;
  const long double x = a.is_integral() ? static_cast<long double>(a.as_integer()) : a.as_real();
  const long double y = b.is_integral() ? static_cast<long double>(b.as_integer()) : b.as_real();
  return x < y ? -1 : x > y ? 1 : 0;
}

bool has_nan(const Value& a, const Value& b) {
  return (a.is(Kind::kFloat) && std::isnan(a.as_real())) || (b.is(Kind::kFloat) && std::isnan(b.as_real()));
}

bool equal_dicts(const DictNode& a, const DictNode& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (other == nullptr || !equal(value, *other)) return false;
  }
  return true;
}

}  // namespace

Meter*& Meter::current() {
  thread_local Meter* meter = nullptr;
  return meter;
}

// Nesting is checked for containers alone: cyclers, bound methods and macros can hold each other in chains as
// long as memory allows. What lies deeper than kMaxNesting waits until the recursion is over.
void Value::let_go(std::shared_ptr<void> node) {
  thread_local int depth = 0;
  thread_local std::vector<std::shared_ptr<void>>* waiting = nullptr;  // outlives no call from outside
  if (depth > kMaxNesting) {
    waiting->push_back(std::move(node));
    return;
  }
  const bool is_outermost = depth == 0;
  std::vector<std::shared_ptr<void>> deeper;
  if (is_outermost) waiting = &deeper;
  ++depth;
  node.reset();
  while (is_outermost && !deeper.empty()) {
    node = std::move(deeper.back());
    deeper.pop_back();
    node.reset();
  }
  --depth;
}

Value Value::none() {
  Value value;
  value.kind_ = Kind::kNone;
  return value;
}
Value Value::boolean(bool truth) {
  Value value;
  value.kind_ = Kind::kBool;
  value.number_.integer = truth ? 1 : 0;
  return value;
}
Value Value::integer(Integer number) {
  Value value;
  value.kind_ = Kind::kInt;
  value.number_.integer = number;
  return value;
}
Value Value::real(double number) {
  Value value;
  value.kind_ = Kind::kFloat;
  value.number_.real = number;
  return value;
}
Value Value::string(std::string text, bool markup) {
  Value value;
  value.kind_ = Kind::kString;
  Meter::expect_bytes(text.size());
  value.node_ = std::make_shared<StringNode>(std::move(text), markup);
  return value;
}
Value Value::list(Values items) {
  Value value;
  value.kind_ = Kind::kList;
  value.node_ = std::make_shared<ListNode>(std::move(items));
  return value;
}
Value Value::tuple(Values items) {
  Value value;
  value.kind_ = Kind::kTuple;
  value.node_ = std::make_shared<ListNode>(std::move(items));
  return value;
}
Value Value::group(Value grouper, Value members) {
  Value value;
  value.kind_ = Kind::kTuple;
  Values pair;
  pair.push_back(std::move(grouper));
  pair.push_back(std::move(members));
  value.node_ = std::make_shared<ListNode>(std::move(pair), true);
  return value;
}
Value Value::dict(std::shared_ptr<const DictNode> node) {
  Value value;
  value.kind_ = Kind::kDict;
  value.node_ = std::const_pointer_cast<DictNode>(std::move(node));
  return value;
}
Value Value::object(std::shared_ptr<Object> node) {
  Value value;
  value.kind_ = Kind::kObject;
  value.node_ = std::move(node);
  return value;
}
Value Value::undefined(std::string message) {
  Value value;
  value.node_ = std::make_shared<StringNode>(std::move(message), false);
  return value;
}

bool Value::is_markup() const {
  return is_string() && static_cast<const StringNode*>(node_.get())->markup;
}
double Value::as_real() const {
  return kind_ == Kind::kFloat ? number_.real : static_cast<double>(number_.integer);
}
const std::string& Value::text() const {
  return static_cast<const StringNode*>(node_.get())->text;
}
const ListNode& Value::sequence() const {
  return *static_cast<const ListNode*>(node_.get());
}
const Values& Value::items() const {
  return sequence().items;
}
const DictNode& Value::dict() const {
  return *static_cast<const DictNode*>(node_.get());
}
Object& Value::object() const {
  return *static_cast<Object*>(node_.get());
}

const std::string& Value::undefined_message() const {
  static const std::string kNoMessage = "the value is undefined";
  return node_ == nullptr ? kNoMessage : static_cast<const StringNode*>(node_.get())->text;
}

bool Value::truth() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return number_.integer != 0;
    case Kind::kFloat:
      return number_.real != 0;
    case Kind::kString:
      return !text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !items().empty();
    case Kind::kDict:
      return dict().size() != 0;
    case Kind::kObject:
      return object().truth();
  }
  return false;
}

int Value::nesting() const {
  if (is_sequence()) return sequence().nesting;
  return kind_ == Kind::kDict ? dict().nesting() : 0;
}

std::string Value::type_name() const {
  switch (kind_) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return is_markup() ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return object().type_name();
  }
  return "object";
}

ListNode::ListNode(Values values, bool is_group)
    : Tracked(sizeof(ListNode) + values.size() * sizeof(Value)),
      items(std::move(values)),
      nesting(1),
      group(is_group) {
  int inner = 0;
  for (const Value& value : items) inner = std::max(inner, value.nesting());
  nesting = checked_nesting(inner);
  Meter::work(items.size() / 16);
}

DictNode::DictNode(std::vector<Entry> entries)
    : Tracked(sizeof(DictNode) + entries.size() * (sizeof(Entry) + 48)), entries_(std::move(entries)) {
  deduplicate();
  int inner = 0;
  for (const auto& [key, value] : entries_) inner = std::max({inner, key.nesting(), value.nesting()});
  nesting_ = checked_nesting(inner);
}

void DictNode::deduplicate() {
  std::vector<Entry> given = std::exchange(entries_, {});
  entries_.reserve(given.size());
  const bool indexed = given.size() >= kIndexFrom;
  for (Entry& entry : given) {
    const size_t hash = hash_of(entry.first);
    if (const Value* known = find(entry.first)) {
      const_cast<Value&>(*known) = std::move(entry.second);
      continue;
    }
    entries_.push_back(std::move(entry));
    if (indexed) index_.emplace(hash, entries_.size() - 1);
  }
}

const Value* DictNode::find(const Value& key) const {
  if (index_.empty()) {
    for (const auto& [known, value] : entries_)
      if (equal(known, key)) return &value;
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(hash_of(key));
  for (auto it = begin; it != end; ++it)
    if (equal(entries_[it->second].first, key)) return &entries_[it->second].second;
  return nullptr;
}

const Value* DictNode::find(std::string_view key) const {
  const auto matches = [&](const Value& known) { return known.is_string() && known.text() == key; };
  if (index_.empty()) {
    for (const auto& [known, value] : entries_)
      if (matches(known)) return &value;
    return nullptr;
  }
  const auto [begin, end] = index_.equal_range(std::hash<std::string_view>{}(key));
  for (auto it = begin; it != end; ++it)
    if (matches(entries_[it->second].first)) return &entries_[it->second].second;
  return nullptr;
}

bool identical(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is_integral()) return a.as_integer() == b.as_integer();
  if (a.is(Kind::kFloat)) return a.as_real() == b.as_real();
  if (a.is_string()) return a.text() == b.text();
  return a.node() == b.node();
}

bool equal(const Value& a, const Value& b) {
  Meter::work(1);
  if (a.is_number() && b.is_number()) return !has_nan(a, b) && compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      Meter::work(std::min(a.text().size(), b.text().size()) / 64);
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple: {
      if (a.items().size() != b.items().size()) return false;
      for (size_t i = 0; i < a.items().size(); ++i)
        if (!equal(a.items()[i], b.items()[i])) return false;
      return true;
    }
    case Kind::kDict:
      return equal_dicts(a.dict(), b.dict());
    case Kind::kObject: {
      const auto* x = dynamic_cast<const Range*>(&a.object());
      const auto* y = dynamic_cast<const Range*>(&b.object());
      return a.node() == b.node() || (x != nullptr && y != nullptr && x->same_as(*y));
    }
    default:
      return a.node() == b.node();
  }
}

bool hashable(const Value& value) {
  if (value.is(Kind::kTuple)) {
    for (const Value& item : value.items())
      if (!hashable(item)) return false;
    return true;
  }
  return !value.is(Kind::kList) && !value.is(Kind::kDict);
}

size_t hash_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
      return std::hash<std::string_view>{}(value.text());
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<int64_t>{}(static_cast<int64_t>(value.as_integer()));
    case Kind::kFloat: {
      const double number = value.as_real();
      if (std::abs(number) < 9e18 && number == std::floor(number))
        return std::hash<int64_t>{}(static_cast<int64_t>(number));
      return std::hash<double>{}(number);
    }
    case Kind::kTuple: {
      size_t hash = value.items().size();
      for (const Value& item : value.items()) hash = hash * 1000003 + hash_of(item);
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
      fail("unhashable type: '{}'", value.type_name());
    default:
      return std::hash<const void*>{}(value.node().get());
  }
}

std::optional<int> order(const Value& a, const Value& b, const char* symbol) {
  Meter::work(1);
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) fail("{}", value->undefined_message());
  if (a.is_number() && b.is_number()) {
    if (has_nan(a, b)) return std::nullopt;
    return compare_numbers(a, b);
  }
  if (a.is_string() && b.is_string()) {
    const int result = a.text().compare(b.text());  // UTF-8 keeps the order of code points
    return result < 0 ? -1 : result > 0 ? 1 : 0;
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const Values& x = a.items();
    const Values& y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(x[i], y[i])) return order(x[i], y[i], symbol);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  fail("'{}' not supported between instances of '{}' and '{}'", symbol, a.type_name(), b.type_name());
}

std::shared_ptr<const ListNode> iterate(const Value& value) {
  const auto made = [](Values items) { return std::make_shared<const ListNode>(std::move(items)); };
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kTuple:
      return std::static_pointer_cast<const ListNode>(value.node());
    case Kind::kUndefined:
      return made({});
    case Kind::kDict: {
      Values keys;
      for (const auto& entry : value.dict().entries()) keys.push_back(entry.first);
      return made(std::move(keys));
    }
    case Kind::kString: {
      Values characters;
      Meter::expect_bytes(value.text().size() * sizeof(Value));
      for (std::string_view rest = value.text(); !rest.empty();) {
        const size_t size = char_size(rest);
        characters.push_back(text_value(std::string(rest.substr(0, size))));
        rest.remove_prefix(size);
      }
      return made(std::move(characters));
    }
    case Kind::kObject:
      if (auto items = value.object().elements()) return made(std::move(*items));
      [[fallthrough]];
    default:
      fail("'{}' object is not iterable", value.type_name());
  }
}

std::optional<size_t> length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return char_count(value.text());
    case Kind::kList:
    case Kind::kTuple:
      return value.items().size();
    case Kind::kDict:
      return value.dict().size();
    case Kind::kObject:
      return value.object().length();
    default:
      return std::nullopt;
  }
}

}  // namespace llmhost::text::jinja
