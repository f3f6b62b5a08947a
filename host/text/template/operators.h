// Python's operators and Jinja's attribute and item access, with the sandbox's rules.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/template/object.h"
#include "text/template/value.h"

namespace llmhost::text::jinja {

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

Value binary(BinaryOp op, const Value& a, const Value& b);
Value negate(const Value& value);
Value positive(const Value& value);
bool compare(CompareOp op, const Value& a, const Value& b);
bool contains(const Value& container, const Value& item);

// `object.name`: an attribute, else the dict entry; undefined when there is neither.
Value get_attribute(const Value& object, std::string_view name);
// `object[key]`: the item, else the attribute; undefined when there is neither.
Value get_item(const Value& object, const Value& key);
// The attribute alone (methods, loop.index), as the attr filter and format fields need.
std::optional<Value> python_attribute(const Value& object, std::string_view name);

struct Slice {
  std::optional<Integer> start, stop, step;
};
Slice make_slice(const Value& start, const Value& stop, const Value& step);  // none stands for absent
Value get_slice(const Value& object, const Slice& slice);

Integer python_index(const Value& value, std::string_view what);  // an int or bool; Fault otherwise
Integer python_mod(Integer a, Integer b);
double python_mod(double a, double b);
std::string escape_html(std::string_view text);
Value escaped(const Value& value);  // strings that are not markup, also inside a sequence or dict, made safe

// value_methods.cpp, string_methods.cpp: the bound method, nullopt when the type has none of the name.
std::optional<Value> string_method(const Value& self, std::string_view name);
std::optional<Value> container_method(const Value& self, std::string_view name);
std::optional<Value> number_attribute(const Value& self, std::string_view name);

// percent_format.cpp, brace_format.cpp
std::string percent_format(std::string_view format, const Value& values);
std::string brace_format(Runtime& runtime, std::string_view format, const Arguments& arguments);

}  // namespace llmhost::text::jinja
