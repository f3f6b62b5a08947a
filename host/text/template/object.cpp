#include "text/template/object.h"

#include <algorithm>

#include "text/template/operators.h"

namespace llmhost::text::jinja {

std::vector<std::optional<Value>> Arguments::take(std::string_view function,
                                                  std::initializer_list<std::string_view> parameters,
                                                  size_t required) const {
  if (positional.size() > parameters.size())
    fail("{}() takes at most {} arguments ({} given)", function, parameters.size(), positional.size());
  std::vector<std::optional<Value>> out(parameters.size());
  for (size_t i = 0; i < positional.size(); ++i) out[i] = positional[i];
  for (const auto& [name, value] : named) {
    const auto* found = std::find(parameters.begin(), parameters.end(), name);
    if (found == parameters.end()) fail("{}() got an unexpected keyword argument '{}'", function, name);
    auto& slot = out[static_cast<size_t>(found - parameters.begin())];
    if (slot) fail("{}() got multiple values for argument '{}'", function, name);
    slot = value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!out[i]) fail("{}() needs the argument '{}'", function, *(parameters.begin() + i));
  return out;
}

Value Object::call(Runtime&, Arguments&) {
  fail("'{}' object is not callable", type_name());
}
std::optional<Value> Object::attribute(std::string_view) {
  return std::nullopt;
}
std::optional<Value> Object::element(const Value&) {
  return std::nullopt;
}

Value function_value(std::string name, Function::Body body) {
  return Value::object(std::make_shared<Function>(std::move(name), std::move(body)));
}

Integer Range::count() const {
  if (step_ > 0) return stop_ > start_ ? (stop_ - start_ + step_ - 1) / step_ : 0;
  return start_ > stop_ ? (start_ - stop_ - step_ - 1) / -step_ : 0;
}

std::string Range::repr() const {
  std::string out = "range(" + integer_text(start_) + ", " + integer_text(stop_);
  if (step_ != 1) out += ", " + integer_text(step_);
  return out + ")";
}

std::optional<Values> Range::elements() {
  const auto size = static_cast<size_t>(count());
  Meter::expect_bytes(size * sizeof(Value));
  Values values;
  values.reserve(size);
  for (size_t i = 0; i < size; ++i) values.push_back(Value::integer(at(static_cast<Integer>(i))));
  return values;
}

std::optional<Value> Range::element(const Value& key) {
  if (!key.is_integral()) return std::nullopt;
  const Integer index = key.as_integer() < 0 ? key.as_integer() + count() : key.as_integer();
  if (index < 0 || index >= count()) return std::nullopt;
  return Value::integer(at(index));
}

std::optional<Value> Range::attribute(std::string_view name) {
  if (name == "start") return Value::integer(start_);
  if (name == "stop") return Value::integer(stop_);
  if (name == "step") return Value::integer(step_);
  return std::nullopt;
}

std::string DictView::type_name() const {
  return what_ == What::kKeys ? "dict_keys" : what_ == What::kValues ? "dict_values" : "dict_items";
}

std::string DictView::repr() const {
  DictView copy(dict_, what_);
  return type_name() + "(" + repr_of(Value::list(*copy.elements())) + ")";
}

std::optional<Values> DictView::elements() {
  Values values;
  for (const auto& [key, value] : dict_.dict().entries()) {
    if (what_ == What::kItems) {
      values.push_back(Value::tuple({key, value}));
    } else {
      values.push_back(what_ == What::kKeys ? key : value);
    }
  }
  return values;
}

std::string Namespace::repr() const {
  std::string out = "<Namespace {";
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (i != 0) out += ", ";
    out += repr_of(text_value(entries_[i].first)) + ": " + repr_of(entries_[i].second);
  }
  return out + "}>";
}

std::optional<Value> Namespace::attribute(std::string_view name) {
  for (const auto& [known, value] : entries_)
    if (known == name) return value;
  return std::nullopt;
}

std::optional<Value> Namespace::element(const Value& key) {
  return key.is_string() ? attribute(key.text()) : std::nullopt;
}

void Namespace::set(const std::string& name, Value value) {
  for (auto& [known, old] : entries_) {
    if (known != name) continue;
    old = std::move(value);
    return;
  }
  entries_.emplace_back(name, std::move(value));
}

std::optional<Value> Cycler::attribute(std::string_view name) {
  if (name == "current") return values_[*position_];
  if (name != "next" && name != "reset") return std::nullopt;
  const bool next = name == "next";
  return function_value(std::string(name),
                        [values = values_, position = position_, next](Runtime&, Arguments&) {
                          if (!next) {
                            *position = 0;
                            return Value::none();
                          }
                          Value current = values[*position];
                          *position = (*position + 1) % values.size();
                          return current;
                        });
}

Value Joiner::call(Runtime&, Arguments&) {
  return std::exchange(used_, true) ? separator_ : text_value("");
}

}  // namespace llmhost::text::jinja
