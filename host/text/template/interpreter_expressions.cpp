#include "text/template/filters.h"
#include "text/template/functions.h"
#include "text/template/interpreter.h"
#include "text/template/interpreter_depth.h"
#include "text/template/template_error.h"

namespace llmhost::text::jinja {

Value Interpreter::lookup(const std::string& name, const ScopePtr& scope) {
  if (const Value* found = scope->find(name)) return *found;
  if (const Value* found = variables_.dict().find(std::string_view(name))) return *found;
  if (auto function = global_function(name)) {
    root_->set(name, *function);
    return *function;
  }
  if (name == "self") return Value::object(std::make_shared<SelfObject>(*this, parsed_));
  return Value::undefined("'" + name + "' is undefined");
}

Value Interpreter::evaluate(const Expr& node, const ScopePtr& scope) {
  const Depth deeper(*this);
  meter_.step();
  try {
    return evaluate_node(node, scope);
  } catch (const Fault& fault) {
    throw PlacedFault(fault.what(), node.offset);
  }
}

Value Interpreter::evaluate_node(const Expr& node, const ScopePtr& scope) {
  const auto child = [&](size_t i) { return evaluate(*node.children[i], scope); };
  switch (node.kind) {
    case ExprKind::kConst:
      return node.constant;
    case ExprKind::kName:
      return lookup(node.name, scope);
    case ExprKind::kTuple:
    case ExprKind::kList:
    case ExprKind::kDict:
      return evaluate_container(node, scope);
    case ExprKind::kAttribute:
      return get_attribute(child(0), node.name);
    case ExprKind::kItem:
      return evaluate_item(node, scope);
    case ExprKind::kCall:
      return evaluate_call(node, scope);
    case ExprKind::kFilter:
      return evaluate_filter(node, scope, nullptr);
    case ExprKind::kTest:
      return evaluate_test(node, scope);
    case ExprKind::kNot:
      return Value::boolean(!child(0).truth());
    case ExprKind::kNegate:
      return negate(child(0));
    case ExprKind::kPositive:
      return positive(child(0));
    case ExprKind::kBinary: {
      const Value left = child(0);
      return binary(node.op, left, child(1));
    }
    case ExprKind::kAnd: {
      Value left = child(0);
      return left.truth() ? child(1) : left;
    }
    case ExprKind::kOr: {
      Value left = child(0);
      return left.truth() ? left : child(1);
    }
    case ExprKind::kCompare:
      return evaluate_compare(node, scope);
    case ExprKind::kConcat:
      return evaluate_concat(node, scope);
    case ExprKind::kConditional:
      if (child(1).truth()) return child(0);
      if (node.children[2]) return child(2);
      return Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
    case ExprKind::kNamespace:
    case ExprKind::kSlice:
      break;
  }
  fail("a slice cannot stand here");
}

Value Interpreter::evaluate_container(const Expr& node, const ScopePtr& scope) {
  if (node.kind == ExprKind::kDict) {
    std::vector<DictNode::Entry> entries;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      Value key = evaluate(*node.children[i], scope);
      entries.emplace_back(std::move(key), evaluate(*node.children[i + 1], scope));
    }
    return Value::dict(std::make_shared<DictNode>(std::move(entries)));
  }
  Values items;
  for (const auto& child : node.children) items.push_back(evaluate(*child, scope));
  return node.kind == ExprKind::kList ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value Interpreter::evaluate_item(const Expr& node, const ScopePtr& scope) {
  const Value object = evaluate(*node.children[0], scope);
  const Expr& key = *node.children[1];
  if (key.kind != ExprKind::kSlice) return get_item(object, evaluate(key, scope));
  const auto bound = [&](size_t i) {
    return key.children[i] ? evaluate(*key.children[i], scope) : Value::none();
  };
  const Value start = bound(0);
  const Value stop = bound(1);
  return get_slice(object, make_slice(start, stop, bound(2)));
}

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments, const ScopePtr& scope) {
  Arguments out;
  for (const auto& node : arguments.positional) out.positional.push_back(evaluate(*node, scope));
  for (const auto& [name, node] : arguments.named) out.named.emplace_back(name, evaluate(*node, scope));
  if (arguments.extra_positional) {
    const auto extra = iterate(evaluate(*arguments.extra_positional, scope));
    out.positional.insert(out.positional.end(), extra->items.begin(), extra->items.end());
  }
  if (arguments.extra_named) {
    const Value extra = evaluate(*arguments.extra_named, scope);
    if (!extra.is(Kind::kDict)) fail("the argument after ** must be a mapping, not {}", extra.type_name());
    for (const auto& [key, value] : extra.dict().entries()) {
      if (!key.is_string()) fail("keywords must be strings");
      for (const auto& known : out.named)
        if (known.first == key.text()) fail("got multiple values for keyword argument '{}'", key.text());
      out.named.emplace_back(key.text(), value);
    }
  }
  return out;
}

Value Interpreter::call(const Value& callee, Arguments& arguments) {
  if (callee.is_undefined()) fail("{}", callee.undefined_message());
  if (!callee.is(Kind::kObject)) fail("'{}' object is not callable", callee.type_name());
  meter_.step(1 + arguments.positional.size());
  return callee.object().call(*this, arguments);
}

Value Interpreter::evaluate_call(const Expr& node, const ScopePtr& scope) {
  const Value callee = evaluate(*node.children[0], scope);
  Arguments arguments = evaluate_arguments(node.arguments, scope);
  return call(callee, arguments);
}

Value Interpreter::evaluate_filter(const Expr& node, const ScopePtr& scope, const Value* block_text) {
  Value input;
  if (node.children[0] == nullptr) {
    input = *block_text;
  } else if (block_text != nullptr && node.children[0]->kind == ExprKind::kFilter) {
    input = evaluate_filter(*node.children[0], scope, block_text);
  } else {
    input = evaluate(*node.children[0], scope);
  }
  const Filter filter = find_filter(node.name);
  if (filter == nullptr) fail("No filter named '{}'.", node.name);
  Arguments arguments = evaluate_arguments(node.arguments, scope);
  return filter(*this, input, arguments);
}

Value Interpreter::evaluate_test(const Expr& node, const ScopePtr& scope) {
  const Value input = evaluate(*node.children[0], scope);
  const Test test = find_test(node.name);
  if (test == nullptr) fail("No test named '{}'.", node.name);
  Arguments arguments = evaluate_arguments(node.arguments, scope);
  return Value::boolean(test(*this, input, arguments));
}

Value Interpreter::evaluate_compare(const Expr& node, const ScopePtr& scope) {
  Value left = evaluate(*node.children[0], scope);
  for (size_t i = 0; i < node.comparisons.size(); ++i) {
    Value right = evaluate(*node.children[i + 1], scope);
    if (!compare(node.comparisons[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concat(const Expr& node, const ScopePtr& scope) {
  std::string out;
  for (const auto& child : node.children) {
    const Value value = evaluate(*child, scope);
    if (value.is_string()) {
      Meter::expect_bytes(out.size() + value.text().size());
      out += value.text();
    } else {
      out += str_of(value);
    }
  }
  return text_value(std::move(out));
}

}  // namespace llmhost::text::jinja
