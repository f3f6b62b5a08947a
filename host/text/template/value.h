// The values a template works on: Python's None, bool, int (128 bits), float, str, list, tuple and dict,
// Jinja's undefined, and objects (functions, iterators, namespaces). Lists and dicts never change once made
// (templates run sandboxed), so they are shared without copies and may be read by many threads.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/template/meter.h"

namespace llmhost::text::jinja {

__extension__ typedef __int128 Integer;

enum class Kind : uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kTuple, kDict, kObject };

class Value;
class Object;
struct StringNode;
struct ListNode;
class DictNode;
using Values = std::vector<Value>;

class Value {
 public:
  Value() = default;  // undefined, with no message
  Value(const Value&) = default;
  Value(Value&&) = default;
  Value& operator=(const Value&) = default;
  Value& operator=(Value&&) = default;
  ~Value() {
    if (node_ != nullptr && node_.use_count() == 1) let_go(std::move(node_));
  }
  static Value none();
  static Value boolean(bool value);
  static Value integer(Integer value);
  static Value real(double value);
  static Value string(std::string text, bool markup = false);
  static Value list(Values items);
  static Value tuple(Values items);
  static Value group(Value grouper, Value members);  // groupby's pair, with attributes grouper and list
  static Value dict(std::shared_ptr<const DictNode> node);
  static Value object(std::shared_ptr<Object> node);
  static Value undefined(std::string message);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_markup() const;
  bool is_number() const { return is_integral() || kind_ == Kind::kFloat; }
  bool is_integral() const {
    return kind_ == Kind::kInt || kind_ == Kind::kBool;
  }  // bool counts as int, as in Python
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }

  // Each needs the kind it is named for.
  bool as_bool() const { return number_.integer != 0; }
  Integer as_integer() const { return number_.integer; }
  double as_real() const;  // also of ints
  const std::string& text() const;
  const Values& items() const;
  const ListNode& sequence() const;
  const DictNode& dict() const;
  Object& object() const;
  const std::shared_ptr<void>& node() const { return node_; }
  const std::string& undefined_message() const;

  bool truth() const;
  int nesting() const;  // containers inside each other
  std::string type_name() const;

 private:
  union Number {
    Integer integer;
    double real;
  };
  // Destroys a node, with bounded recursion however long the chain of values that it holds.
  static void let_go(std::shared_ptr<void> node);

  Number number_ = {0};
  std::shared_ptr<void> node_;
  Kind kind_ = Kind::kUndefined;
};

struct StringNode : Tracked {
  StringNode(std::string value, bool is_markup)
      : Tracked(sizeof(StringNode) + value.size()), text(std::move(value)), markup(is_markup) {}
  std::string text;
  bool markup;
};

struct ListNode : Tracked {
  explicit ListNode(Values values, bool is_group = false);
  Values items;
  int nesting;
  bool group;
};

// Keys in order of insertion, equal as in Python (1 == 1.0 == True).
class DictNode : public Tracked {
 public:
  using Entry = std::pair<Value, Value>;
  explicit DictNode(std::vector<Entry> entries);  // a later duplicate replaces the value of the first
  const std::vector<Entry>& entries() const { return entries_; }
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  size_t size() const { return entries_.size(); }
  int nesting() const { return nesting_; }

 private:
  void deduplicate();
  std::vector<Entry> entries_;
  std::unordered_multimap<size_t, size_t> index_;  // hash of the key to its position; empty for small dicts
  int nesting_ = 1;
};

bool equal(const Value& a, const Value& b);
bool identical(const Value& a, const Value& b);
bool hashable(const Value& value);
size_t hash_of(const Value& value);  // throws Fault for what Python cannot hash
// Python's ordering; -1, 0 or 1. Throws Fault naming `symbol` for types that cannot be ordered. NaN gives
// nothing.
std::optional<int> order(const Value& a, const Value& b, const char* symbol);

std::string str_of(const Value& value);
std::string repr_of(const Value& value);
std::string ascii_of(const Value& value);  // repr with escapes for all but ASCII
std::string float_repr(double value);
std::string integer_text(Integer value);

// Python's iteration: the elements of a sequence, the keys of a dict, the characters of a string. Throws
// Fault if there is none.
std::shared_ptr<const ListNode> iterate(const Value& value);
std::optional<size_t> length_of(const Value& value);

inline Value text_value(std::string text) {
  return Value::string(std::move(text));
}

}  // namespace llmhost::text::jinja
