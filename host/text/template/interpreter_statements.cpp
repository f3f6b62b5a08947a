#include "text/template/functions.h"
#include "text/template/interpreter.h"
#include "text/template/interpreter_depth.h"
#include "text/template/template_error.h"

namespace llmhost::text::jinja {
namespace {

// One more macro, block or recursive loop inside the others, for as long as it lives.
class FunctionDepth {
 public:
  FunctionDepth(int& depth, int limit, std::string_view what) : depth_(depth) {
    if (depth >= limit) fail("{} more than {} deep", what, limit);
    ++depth;
  }
  ~FunctionDepth() { --depth_; }
  FunctionDepth(const FunctionDepth&) = delete;
  FunctionDepth& operator=(const FunctionDepth&) = delete;

 private:
  int& depth_;
};

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get())
    for (const auto& [known, value] : scope->variables)
      if (known == name) return &value;
  return nullptr;
}

void Scope::set(const std::string& name, Value value) {
  for (auto& [known, old] : variables) {
    if (known != name) continue;
    old = std::move(value);
    return;
  }
  variables.emplace_back(name, std::move(value));
}

Interpreter::Interpreter(const ParsedTemplate& parsed, const Value& variables, Meter& meter,
                         const Clock& clock, std::vector<TextSpan>* generation)
    : parsed_(parsed),
      variables_(variables),
      meter_(meter),
      clock_(clock),
      root_(std::make_shared<Scope>(nullptr)),
      generation_(generation) {}

// Macros and namespaces can hold each other in circles; emptying them lets everything go.
Interpreter::~Interpreter() {
  for (const auto& weak : captured_) {
    if (const auto scope = weak.lock()) scope->variables.clear();
  }
  for (const auto& space : spaces_) space->clear();
  root_->variables.clear();
}

std::string Interpreter::render() {
  std::string out;
  result_ = &out;
  run(parsed_.body, root_, out);
  return out;
}

std::string Interpreter::run_body(const Body& body, const ScopePtr& scope) {
  const FunctionDepth deeper(function_depth_, meter_.limits().max_macro_depth, "macros are nested");
  std::string out;
  run(body, scope, out);
  return out;
}

std::string Interpreter::run_block(const std::string& name) {
  return run_body(parsed_.blocks.find(name)->second->body, std::make_shared<Scope>(root_));
}

std::string Interpreter::run_loop(const Stmt& loop, const Value& items, const ScopePtr& scope, int depth) {
  const FunctionDepth deeper(function_depth_, meter_.limits().max_macro_depth, "loops recurse");
  std::string out;
  run_for(loop, items, scope, depth, out);
  return out;
}

void Interpreter::bind_defaults(const Signature& signature, std::vector<std::optional<Value>>& values,
                                const ScopePtr& scope) {
  const FunctionDepth deeper(function_depth_, meter_.limits().max_macro_depth, "macros are nested");
  const size_t without = signature.parameters.size() - signature.defaults.size();
  // A default sees the parameters, also those after it, but not outer variables of the same names.
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string& name = signature.parameters[i];
    scope->set(name, values[i] ? *values[i] : Value::undefined("parameter '" + name + "' was not provided"));
  }
  for (size_t i = without; i < values.size(); ++i)
    if (!values[i]) scope->set(signature.parameters[i], evaluate(*signature.defaults[i - without], scope));
}

void Interpreter::write(std::string& out, std::string_view text) {
  if (out.size() + text.size() > meter_.limits().max_output_bytes)
    fail("the output is larger than {} bytes", meter_.limits().max_output_bytes);
  meter_.step(text.size() / 64);
  out += text;
}

Interpreter::Flow Interpreter::run(const Body& body, const ScopePtr& scope, std::string& out) {
  for (const auto& node : body) {
    meter_.step();
    try {
      const Flow flow = run_statement(*node, scope, out);
      if (flow != Flow::kNormal) return flow;
    } catch (const Fault& fault) {
      throw PlacedFault(fault.what(), node->offset);
    }
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_statement(const Stmt& node, const ScopePtr& scope, std::string& out) {
  const Depth deeper(*this);
  switch (node.kind) {
    case StmtKind::kData:
      write(out, node.text);
      break;
    case StmtKind::kOutput:
      for (const auto& expression : node.expressions) {
        const Value value = evaluate(*expression, scope);
        write(out, value.is_string() ? value.text() : str_of(value));
      }
      break;
    case StmtKind::kIf:
      return run_if(node, scope, out);
    case StmtKind::kFor:
      return run_for(node, evaluate(*node.expressions[0], scope), scope, 1, out);
    case StmtKind::kSet:
      assign(*node.target, evaluate(*node.expressions[0], scope), scope);
      break;
    case StmtKind::kSetBlock:
    case StmtKind::kFilterBlock:
      return run_captured(node, scope, out);
    case StmtKind::kMacro:
      scope->set(node.signature->name, make_macro(node, scope));
      break;
    case StmtKind::kCallBlock:
      run_call_block(node, scope, out);
      break;
    case StmtKind::kWith:
    case StmtKind::kScope:
    case StmtKind::kBlock:
      return run_scope(node, scope, out);
    case StmtKind::kGeneration:
      return run_generation(node, scope, out);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
    case StmtKind::kRefused:
      fail("{}", node.text);
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_if(const Stmt& node, const ScopePtr& scope, std::string& out) {
  for (const Branch& branch : node.branches)
    if (evaluate(*branch.condition, scope).truth()) return run(branch.body, scope, out);
  return run(node.else_body, scope, out);
}

// The items for which the loop's own condition holds; it sees the loop's variables but no `loop`.
std::shared_ptr<const ListNode> Interpreter::filtered(const Stmt& node, const Value& items,
                                                      const ScopePtr& scope) {
  auto all = iterate(items);
  if (!node.condition) return all;
  Values kept;
  for (const Value& item : all->items) {
    meter_.step(2);
    auto inner = std::make_shared<Scope>(scope);
    assign(*node.target, item, inner);
    if (evaluate(*node.condition, inner).truth()) kept.push_back(item);
  }
  return std::make_shared<const ListNode>(std::move(kept));
}

Interpreter::Flow Interpreter::run_for(const Stmt& node, const Value& items, const ScopePtr& scope, int depth,
                                       std::string& out) {
  const auto list = filtered(node, items, scope);
  bool completed = false;  // as in Jinja, the else body runs unless an iteration came to its end
  const auto loop = std::make_shared<LoopObject>(*this, node, scope, list, depth);
  const struct End {
    LoopObject& loop;
    ~End() { loop.end(); }
  } end{*loop};
  for (size_t i = 0; i < list->items.size(); ++i) {
    meter_.step(2);
    loop->move_to(i);
    auto inner = std::make_shared<Scope>(scope);
    inner->set("loop", Value::object(loop));
    assign(*node.target, list->items[i], inner);
    const Flow flow = run(node.body, inner, out);
    if (flow == Flow::kBreak) break;
    completed |= flow == Flow::kNormal;
  }
  if (!completed && !node.else_body.empty()) return run(node.else_body, std::make_shared<Scope>(scope), out);
  return Flow::kNormal;
}

// Set and filter blocks: the body's text becomes a value.
Interpreter::Flow Interpreter::run_captured(const Stmt& node, const ScopePtr& scope, std::string& out) {
  std::string text;
  const Flow flow = run(node.body, std::make_shared<Scope>(scope), text);
  if (flow != Flow::kNormal) return flow;  // a break drops what was captured
  Value value = text_value(std::move(text));
  if (node.expressions[0]) value = evaluate_filter(*node.expressions[0], scope, &value);
  if (node.kind == StmtKind::kSetBlock) {
    assign(*node.target, value, scope);
  } else {
    write(out, str_of(value));
  }
  return Flow::kNormal;
}

void Interpreter::run_with_targets(const Stmt& node, const ScopePtr& outer, const ScopePtr& inner) {
  for (size_t i = 0; i < node.targets.size(); ++i)
    assign(*node.targets[i], evaluate(*node.expressions[i], outer), inner);
}

Interpreter::Flow Interpreter::run_generation(const Stmt& node, const ScopePtr& scope, std::string& out) {
  const size_t begin = out.size();
  const Flow flow = run(node.body, std::make_shared<Scope>(scope), out);
  if (generation_ != nullptr && &out == result_) generation_->push_back({begin, out.size()});
  return flow;
}

Interpreter::Flow Interpreter::run_scope(const Stmt& node, const ScopePtr& scope, std::string& out) {
  if (node.condition && evaluate(*node.condition, scope).truth()) fail("autoescape is not supported");
  const bool detached = node.kind == StmtKind::kBlock && !node.scoped;
  auto inner = std::make_shared<Scope>(detached ? root_ : scope);
  run_with_targets(node, scope, inner);
  return run(node.body, inner, out);
}

void Interpreter::run_call_block(const Stmt& node, const ScopePtr& scope, std::string& out) {
  const Expr& expression = *node.expressions[0];
  const Value callee = evaluate(*expression.children[0], scope);
  Arguments arguments = evaluate_arguments(expression.arguments, scope);
  arguments.named.emplace_back("caller", make_macro(node, scope));
  write(out, str_of(call(callee, arguments)));
}

Value Interpreter::make_macro(const Stmt& node, const ScopePtr& scope) {
  captured_.push_back(scope);
  return Value::object(std::make_shared<Macro>(*this, node, scope));
}

void Interpreter::assign(const Expr& target, const Value& value, const ScopePtr& scope) {
  if (target.kind == ExprKind::kName) {
    scope->set(target.name, value);
  } else if (target.kind == ExprKind::kNamespace) {
    const Value object = lookup(target.name, scope);
    auto* space = object.is(Kind::kObject) ? dynamic_cast<Namespace*>(&object.object()) : nullptr;
    if (space == nullptr) fail("cannot assign attribute on non-namespace object");
    space->set(target.attribute, value);
  } else {
    const auto items = iterate(value);
    if (items->items.size() != target.children.size())
      fail("cannot unpack {} values into {} names", items->items.size(), target.children.size());
    for (size_t i = 0; i < items->items.size(); ++i) assign(*target.children[i], items->items[i], scope);
  }
}

}  // namespace llmhost::text::jinja
