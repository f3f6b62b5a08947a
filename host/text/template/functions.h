// What templates can call without importing it: range, dict, namespace, cycler, joiner, raise_exception,
// strftime_now; and the objects that the interpreter makes: macros, loops, blocks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "text/template/interpreter.h"

namespace llmhost::text::jinja {

std::optional<Value> global_function(std::string_view name);

// A macro, or the caller of a call block: parameters, body, and the scope where it was defined.
class Macro : public Object {
 public:
  Macro(Interpreter& interpreter, const Stmt& node, ScopePtr scope)
      : interpreter_(interpreter), node_(node), scope_(std::move(scope)) {}
  std::string type_name() const override { return "Macro"; }
  std::string repr() const override { return "<Macro '" + node_.signature->name + "'>"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Arguments& arguments) override;
  std::optional<Value> attribute(std::string_view name) override;

 private:
  Interpreter& interpreter_;
  const Stmt& node_;
  ScopePtr scope_;
};

// The variable `loop`.
class LoopObject : public Object, public std::enable_shared_from_this<LoopObject> {
 public:
  LoopObject(Interpreter& interpreter, const Stmt& node, ScopePtr outer,
             std::shared_ptr<const ListNode> items, int depth)
      : interpreter_(interpreter),
        node_(node),
        outer_(std::move(outer)),
        items_(std::move(items)),
        depth_(depth) {}
  std::string type_name() const override { return "LoopContext"; }
  std::string repr() const override;
  bool callable() const override { return node_.recursive; }
  Value call(Runtime& runtime, Arguments& arguments) override;
  std::optional<Value> attribute(std::string_view name) override;
  std::optional<size_t> length() const override { return items_->items.size(); }
  void move_to(size_t index) { index_ = index; }
  bool changed(const Arguments& arguments);
  // A loop that has ended remembers nothing: what it was given may hold the loop itself.
  void end();

 private:
  Interpreter& interpreter_;
  const Stmt& node_;
  ScopePtr outer_;
  std::shared_ptr<const ListNode> items_;
  int depth_;
  size_t index_ = 0;
  std::optional<Value> last_changed_;
  bool ended_ = false;
};

// `self`: self.name() renders a block.
class SelfObject : public Object {
 public:
  SelfObject(Interpreter& interpreter, const ParsedTemplate& parsed)
      : interpreter_(interpreter), parsed_(parsed) {}
  std::string type_name() const override { return "TemplateReference"; }
  std::string repr() const override { return "<TemplateReference None>"; }
  std::optional<Value> attribute(std::string_view name) override;

 private:
  Interpreter& interpreter_;
  const ParsedTemplate& parsed_;
};

}  // namespace llmhost::text::jinja
