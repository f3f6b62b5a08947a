// Methods and attributes of lists, tuples, dicts and numbers. Those that would change a value are refused by
// the sandbox.
#include <cmath>

#include "text/template/operators.h"

namespace llmhost::text::jinja {
namespace {

Value index_in(const Value& self, const Arguments& arguments) {
  const auto given = arguments.take("index", {"value", "start", "stop"}, 1);
  const auto bound = [&](size_t i, Integer fallback) {
    const auto size = static_cast<Integer>(self.items().size());
    Integer at = given[i] ? python_index(*given[i], "index") : fallback;
    if (at < 0) at = std::max<Integer>(0, at + size);
    return std::min(at, size);
  };
  for (Integer i = bound(1, 0); i < bound(2, static_cast<Integer>(self.items().size())); ++i)
    if (equal(self.items()[static_cast<size_t>(i)], *given[0])) return Value::integer(i);
  fail("{} is not in {}", repr_of(*given[0]), self.type_name());
}

Value count_in(const Value& self, const Arguments& arguments) {
  const Value wanted = *arguments.take("count", {"value"}, 1)[0];
  Integer count = 0;
  for (const Value& item : self.items()) count += equal(item, wanted) ? 1 : 0;
  return Value::integer(count);
}

Value dict_get(const Value& self, const Arguments& arguments) {
  const auto given = arguments.take("get", {"key", "default"}, 1);
  if (!arguments.named.empty()) fail("dict.get() takes no keyword arguments");
  if (!hashable(*given[0])) fail("unhashable type: '{}'", given[0]->type_name());
  const Value* found = self.dict().find(*given[0]);
  return found != nullptr ? *found : given[1].value_or(Value::none());
}

std::optional<Value> dict_method(const Value& self, std::string_view name) {
  const auto view = [&](DictView::What what) {
    return function_value(std::string(name), [self, what](Runtime&, Arguments& arguments) {
      arguments.take("view", {});
      return Value::object(std::make_shared<DictView>(self, what));
    });
  };
  if (name == "items") return view(DictView::What::kItems);
  if (name == "keys") return view(DictView::What::kKeys);
  if (name == "values") return view(DictView::What::kValues);
  if (name == "get")
    return function_value("get",
                          [self](Runtime&, Arguments& arguments) { return dict_get(self, arguments); });
  if (name == "copy") return function_value("copy", [self](Runtime&, Arguments&) { return self; });
  if (name == "fromkeys")
    return function_value("fromkeys", [](Runtime&, Arguments& arguments) {
      const auto given = arguments.take("fromkeys", {"iterable", "value"}, 1);
      std::vector<DictNode::Entry> entries;
      for (const auto walked = iterate(*given[0]); const Value& key : walked->items)
        entries.emplace_back(key, given[1].value_or(Value::none()));
      return Value::dict(std::make_shared<DictNode>(std::move(entries)));
    });
  return std::nullopt;
}

}  // namespace

std::optional<Value> container_method(const Value& self, std::string_view name) {
  if (self.is(Kind::kDict)) return dict_method(self, name);
  if (name == "index")
    return function_value("index",
                          [self](Runtime&, Arguments& arguments) { return index_in(self, arguments); });
  if (name == "count")
    return function_value("count",
                          [self](Runtime&, Arguments& arguments) { return count_in(self, arguments); });
  if (name == "copy" && self.is(Kind::kList))
    return function_value("copy", [self](Runtime&, Arguments&) { return self; });
  if (self.sequence().group && name == "grouper") return self.items()[0];
  if (self.sequence().group && name == "list") return self.items()[1];
  return std::nullopt;
}

std::optional<Value> number_attribute(const Value& self, std::string_view name) {
  Value plain = self.is(Kind::kFloat) ? self : Value::integer(self.as_integer());
  if (name == "real") return plain;
  if (name == "imag") return self.is(Kind::kFloat) ? Value::real(0) : Value::integer(0);
  if (name == "conjugate")
    return function_value("conjugate", [plain](Runtime&, Arguments&) { return plain; });
  if (self.is(Kind::kFloat)) {
    if (name == "is_integer")
      return function_value("is_integer", [value = self.as_real()](Runtime&, Arguments&) {
        return Value::boolean(std::isfinite(value) && value == std::floor(value));
      });
    return std::nullopt;
  }
  if (name == "numerator") return plain;
  if (name == "denominator") return Value::integer(1);
  if (name == "bit_length")
    return function_value("bit_length", [value = self.as_integer()](Runtime&, Arguments&) {
      Integer bits = 0;
      for (Integer rest = value < 0 ? -(value / 2) : value / 2, any = value; any != 0; any = rest, rest /= 2)
        ++bits;
      return Value::integer(bits);
    });
  return std::nullopt;
}

}  // namespace llmhost::text::jinja
