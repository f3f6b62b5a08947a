#include "text/template/functions.h"

#include "text/template/template_error.h"

namespace llmhost::text::jinja {
namespace {

constexpr Integer kMaxRange = 100'000;  // as Jinja's sandbox

Value make_range(Runtime&, Arguments& arguments) {
  const Values& given = arguments.positional;
  if (!arguments.named.empty()) fail("range() takes no keyword arguments");
  if (given.empty() || given.size() > 3) fail("range() takes 1 to 3 arguments ({} given)", given.size());
  Integer bounds[3] = {0, 0, 1};
  constexpr Integer kBound = Integer{1} << 64;
  for (size_t i = 0; i < given.size(); ++i) {
    const Integer bound = python_index(given[i], "the argument of range()");
    if (bound > kBound || bound < -kBound) fail("the argument of range() is too big");
    bounds[given.size() == 1 ? 1 : i] = bound;
  }
  if (bounds[2] == 0) fail("range() arg 3 must not be zero");
  auto range = std::make_shared<Range>(bounds[0], bounds[1], bounds[2]);
  if (range->count() > kMaxRange) fail("range too big, the sandbox blocks ranges larger than {}", kMaxRange);
  return Value::object(std::move(range));
}

// The entries that dict(…) and namespace(…) take: a mapping or pairs, then keywords.
std::vector<DictNode::Entry> entries_of(std::string_view function, const Arguments& arguments) {
  if (arguments.positional.size() > 1)
    fail("{}() expected at most 1 argument, got {}", function, arguments.positional.size());
  std::vector<DictNode::Entry> entries;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is(Kind::kDict)) {
      entries = source.dict().entries();
    } else {
      for (const auto walked = iterate(source); const Value& pair : walked->items) {
        const auto items = iterate(pair);
        if (items->items.size() != 2)
          fail("{}() needs pairs, one has {} elements", function, items->items.size());
        entries.emplace_back(items->items[0], items->items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) entries.emplace_back(text_value(name), value);
  return entries;
}

Value make_dict(Runtime&, Arguments& arguments) {
  return Value::dict(std::make_shared<DictNode>(entries_of("dict", arguments)));
}

Value make_namespace(Runtime& runtime, Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  for (auto& [name, value] : entries_of("namespace", arguments)) space->set(str_of(name), value);
  runtime.adopt(space);
  return Value::object(std::move(space));
}

Value make_cycler(Runtime&, Arguments& arguments) {
  if (arguments.positional.empty()) fail("at least one item has to be provided to cycler()");
  return Value::object(std::make_shared<Cycler>(arguments.positional));
}

Value make_joiner(Runtime&, Arguments& arguments) {
  const auto given = arguments.take("joiner", {"sep"});
  return Value::object(std::make_shared<Joiner>(given[0].value_or(text_value(", "))));
}

Value raise_exception(Runtime&, Arguments& arguments) {
  throw TemplateError(str_of(*arguments.take("raise_exception", {"message"}, 1)[0]), true);
}

Value strftime_now(Runtime& runtime, Arguments& arguments) {
  const Value format = *arguments.take("strftime_now", {"format"}, 1)[0];
  if (!format.is_string()) fail("strftime_now() needs a string, not {}", format.type_name());
  return text_value(runtime.strftime_now(format.text()));
}

Value lipsum(Runtime&, Arguments&) {
  fail("lipsum() is not supported: it gives random text");
}

}  // namespace

std::optional<Value> global_function(std::string_view name) {
  using Make = Value (*)(Runtime&, Arguments&);
  static constexpr std::pair<std::string_view, Make> kFunctions[] = {
      {"range", make_range},   {"dict", make_dict},           {"namespace", make_namespace},
      {"cycler", make_cycler}, {"joiner", make_joiner},       {"raise_exception", raise_exception},
      {"lipsum", lipsum},      {"strftime_now", strftime_now}};
  for (const auto& [known, make] : kFunctions)
    if (known == name) return function_value(std::string(name), make);
  return std::nullopt;
}

Value Macro::call(Runtime&, Arguments& arguments) {
  const Signature& signature = *node_.signature;
  const size_t count = signature.parameters.size();
  std::vector<std::optional<Value>> values(count);
  for (size_t i = 0; i < std::min(count, arguments.positional.size()); ++i)
    values[i] = arguments.positional[i];
  std::vector<DictNode::Entry> extra;
  Value caller = Value::undefined("No caller defined");
  bool has_caller_parameter = false;
  for (const std::string& name : signature.parameters) has_caller_parameter |= name == "caller";
  for (const auto& [name, value] : arguments.named) {
    size_t i = std::min(count, arguments.positional.size());
    while (i < count && signature.parameters[i] != name) ++i;
    if (i < count) {
      values[i] = value;
    } else if (name == "caller" && signature.uses_caller && !has_caller_parameter) {
      if (!value.is_none()) caller = value;
    } else if (signature.uses_kwargs) {
      extra.emplace_back(text_value(name), value);
    } else {
      fail("macro '{}' takes no keyword argument '{}'", signature.name, name);
    }
  }
  if (arguments.positional.size() > count && !signature.uses_varargs)
    fail("macro '{}' takes not more than {} argument(s)", signature.name, count);

  auto scope = std::make_shared<Scope>(scope_);
  if (signature.uses_caller && !has_caller_parameter) scope->set("caller", caller);
  if (signature.uses_kwargs) scope->set("kwargs", Value::dict(std::make_shared<DictNode>(std::move(extra))));
  if (signature.uses_varargs) {
    Values rest;
    for (size_t i = count; i < arguments.positional.size(); ++i) rest.push_back(arguments.positional[i]);
    scope->set("varargs", Value::tuple(std::move(rest)));
  }
  interpreter_.bind_defaults(signature, values, scope);
  return text_value(interpreter_.run_body(node_.body, scope));
}

std::optional<Value> Macro::attribute(std::string_view name) {
  const Signature& signature = *node_.signature;
  if (name == "name") return text_value(signature.name);
  if (name == "catch_kwargs") return Value::boolean(signature.uses_kwargs);
  if (name == "catch_varargs") return Value::boolean(signature.uses_varargs);
  if (name == "caller") return Value::boolean(signature.uses_caller);
  if (name != "arguments") return std::nullopt;
  Values names;
  for (const std::string& parameter : signature.parameters) names.push_back(text_value(parameter));
  return Value::tuple(std::move(names));
}

std::string LoopObject::repr() const {
  return fmt::format("<LoopContext {}/{}>", index_ + 1, items_->items.size());
}

Value LoopObject::call(Runtime&, Arguments& arguments) {
  if (!node_.recursive) fail("The loop must have the 'recursive' marker to be called recursively.");
  const Value items = *arguments.take("loop", {"iterable"}, 1)[0];
  return text_value(interpreter_.run_loop(node_, items, outer_, depth_ + 1));
}

bool LoopObject::changed(const Arguments& arguments) {
  Value now = Value::tuple(arguments.positional);
  if (last_changed_ && equal(*last_changed_, now)) return false;
  if (!ended_) last_changed_ = std::move(now);
  return true;
}

void LoopObject::end() {
  ended_ = true;
  last_changed_.reset();
}

std::optional<Value> LoopObject::attribute(std::string_view name) {
  const auto number = [](size_t value) { return Value::integer(static_cast<Integer>(value)); };
  const Values& items = items_->items;
  if (name == "index") return number(index_ + 1);
  if (name == "index0") return number(index_);
  if (name == "revindex") return number(items.size() - index_);
  if (name == "revindex0") return number(items.size() - index_ - 1);
  if (name == "first") return Value::boolean(index_ == 0);
  if (name == "last") return Value::boolean(index_ + 1 == items.size());
  if (name == "length") return number(items.size());
  if (name == "depth") return Value::integer(depth_);
  if (name == "depth0") return Value::integer(depth_ - 1);
  if (name == "previtem")
    return index_ > 0 ? items[index_ - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return index_ + 1 < items.size() ? items[index_ + 1] : Value::undefined("there is no next item");
  if (name == "cycle")
    return function_value("cycle", [index = index_](Runtime&, Arguments& arguments) {
      if (arguments.positional.empty()) fail("no items for cycling given");
      return arguments.positional[index % arguments.positional.size()];
    });
  if (name == "changed")
    return function_value("changed", [self = weak_from_this()](Runtime&, Arguments& arguments) {
      const auto loop = self.lock();
      return Value::boolean(loop == nullptr || loop->changed(arguments));
    });
  return std::nullopt;
}

std::optional<Value> SelfObject::attribute(std::string_view name) {
  const auto found = parsed_.blocks.find(name);
  if (found == parsed_.blocks.end()) return std::nullopt;
  return function_value(found->first,
                        [&interpreter = interpreter_, block = found->first](Runtime&, Arguments&) {
                          return text_value(interpreter.run_block(block));
                        });
}

}  // namespace llmhost::text::jinja
