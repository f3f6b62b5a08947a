// Values that are not plain data: functions, iterators, views, namespaces. Objects belong to one render.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/value.h"

namespace llmhost::text::jinja {

class Runtime;

// The arguments of a call. take() binds them to parameter names as Python does.
struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;

  // One value a parameter, nullopt where none was given. Throws Fault for too many or unknown ones, and for a
  // missing one among the first `required`.
  std::vector<std::optional<Value>> take(std::string_view function,
                                         std::initializer_list<std::string_view> parameters,
                                         size_t required = 0) const;
};

class Object {
 public:
  Object() = default;
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  virtual std::string type_name() const = 0;
  virtual std::string repr() const { return "<" + type_name() + " object>"; }
  virtual bool truth() const { return true; }
  virtual bool callable() const { return false; }
  virtual Value call(Runtime& runtime, Arguments& arguments);
  virtual std::optional<Value> attribute(std::string_view name);
  virtual std::optional<Value> element(const Value& key);
  virtual std::optional<size_t> length() const { return std::nullopt; }
  virtual std::optional<Values> elements() {
    return std::nullopt;
  }  // what iteration gives; an iterator is used up
};

// A native function.
class Function : public Object {
 public:
  using Body = std::function<Value(Runtime&, Arguments&)>;
  Function(std::string name, Body body) : name_(std::move(name)), body_(std::move(body)) {}
  std::string type_name() const override { return "builtin_function_or_method"; }
  std::string repr() const override { return "<built-in method " + name_ + ">"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override { return body_(runtime, arguments); }

 private:
  std::string name_;
  Body body_;
};

// Values that can be walked once, as Python's generators and iterators.
class Iterator : public Object {
 public:
  Iterator(Values values, std::string type) : values_(std::move(values)), type_(std::move(type)) {}
  std::string type_name() const override { return type_; }
  std::optional<Values> elements() override { return std::exchange(values_, {}); }

 private:
  Values values_;
  std::string type_;
};

class Range : public Object {
 public:
  Range(Integer start, Integer stop, Integer step) : start_(start), stop_(stop), step_(step) {}
  std::string type_name() const override { return "range"; }
  std::string repr() const override;
  bool truth() const override { return count() != 0; }
  std::optional<size_t> length() const override { return static_cast<size_t>(count()); }
  std::optional<Values> elements() override;
  std::optional<Value> element(const Value& key) override;
  std::optional<Value> attribute(std::string_view name) override;
  Integer count() const;
  bool same_as(const Range& other) const {  // the same numbers
    return count() == other.count() && (count() == 0 || start_ == other.start_) &&
           (count() <= 1 || step_ == other.step_);
  }
  Integer at(Integer index) const { return start_ + index * step_; }

 private:
  Integer start_, stop_, step_;
};

class DictView : public Object {
 public:
  enum class What { kKeys, kValues, kItems };
  DictView(Value dict, What what) : dict_(std::move(dict)), what_(what) {}
  std::string type_name() const override;
  std::string repr() const override;
  bool truth() const override { return dict_.dict().size() != 0; }
  std::optional<size_t> length() const override { return dict_.dict().size(); }
  std::optional<Values> elements() override;

 private:
  Value dict_;
  What what_;
};

class Namespace : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  std::string repr() const override;
  std::optional<Value> attribute(std::string_view name) override;
  std::optional<Value> element(const Value& key) override;
  void set(const std::string& name, Value value);
  void clear() { entries_.clear(); }

 private:
  std::vector<std::pair<std::string, Value>> entries_;
};

class Cycler : public Object {
 public:
  explicit Cycler(Values values) : values_(std::move(values)) {}
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(std::string_view name) override;

 private:
  Values values_;
  std::shared_ptr<size_t> position_ = std::make_shared<size_t>(0);
};

class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override;

 private:
  Value separator_;
  bool used_ = false;
};

inline Value iterator_value(Values values, std::string type = "generator") {
  return Value::object(std::make_shared<Iterator>(std::move(values), std::move(type)));
}
Value function_value(std::string name, Function::Body body);

// What filters, tests and methods need of the interpreter.
class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Value call(const Value& callee, Arguments& arguments) = 0;
  virtual void adopt(std::shared_ptr<Namespace> space) = 0;  // cleared when the render ends
  virtual std::string strftime_now(const std::string& format) = 0;
};

}  // namespace llmhost::text::jinja
