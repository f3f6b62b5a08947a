// Runs a parsed template on variables. One interpreter a render; it belongs to one thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/ast.h"
#include "text/template/clock.h"
#include "text/template/meter.h"
#include "text/template/object.h"
#include "text/template/parser.h"
#include "text/template/template.h"

namespace llmhost::text::jinja {

// Variables of one block; lookups go to the blocks around it.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer) : parent(std::move(outer)) {}
  const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);

  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> variables;
};
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter : public Runtime {
 public:
  // `generation`: see RenderOptions.
  Interpreter(const ParsedTemplate& parsed, const Value& variables, Meter& meter, const Clock& clock,
              std::vector<TextSpan>* generation);
  ~Interpreter() override;
  std::string render();  // throws PlacedFault, or TemplateError for raise_exception

  Value call(const Value& callee, Arguments& arguments) override;
  void adopt(std::shared_ptr<Namespace> space) override { spaces_.push_back(std::move(space)); }
  std::string strftime_now(const std::string& format) override { return clock_.format(format); }

  Value evaluate(const Expr& node, const ScopePtr& scope);
  std::string run_body(const Body& body, const ScopePtr& scope);
  std::string run_block(const std::string& name);
  std::string run_loop(const Stmt& loop, const Value& items, const ScopePtr& scope, int depth);
  void bind_defaults(const Signature& signature, std::vector<std::optional<Value>>& values,
                     const ScopePtr& scope);

 private:
  enum class Flow : uint8_t { kNormal, kBreak, kContinue };
  class Depth;

  Value lookup(const std::string& name, const ScopePtr& scope);
  Value evaluate_node(const Expr& node, const ScopePtr& scope);
  Value evaluate_container(const Expr& node, const ScopePtr& scope);
  Value evaluate_item(const Expr& node, const ScopePtr& scope);
  Value evaluate_call(const Expr& node, const ScopePtr& scope);
  Value evaluate_filter(const Expr& node, const ScopePtr& scope, const Value* block_text);
  Value evaluate_test(const Expr& node, const ScopePtr& scope);
  Value evaluate_compare(const Expr& node, const ScopePtr& scope);
  Value evaluate_concat(const Expr& node, const ScopePtr& scope);
  Arguments evaluate_arguments(const CallArguments& arguments, const ScopePtr& scope);

  Flow run(const Body& body, const ScopePtr& scope, std::string& out);
  Flow run_statement(const Stmt& node, const ScopePtr& scope, std::string& out);
  Flow run_if(const Stmt& node, const ScopePtr& scope, std::string& out);
  Flow run_for(const Stmt& node, const Value& items, const ScopePtr& scope, int depth, std::string& out);
  Flow run_captured(const Stmt& node, const ScopePtr& scope, std::string& out);
  Flow run_generation(const Stmt& node, const ScopePtr& scope, std::string& out);
  Flow run_scope(const Stmt& node, const ScopePtr& scope, std::string& out);
  void run_call_block(const Stmt& node, const ScopePtr& scope, std::string& out);
  void run_with_targets(const Stmt& node, const ScopePtr& outer, const ScopePtr& inner);
  void write(std::string& out, std::string_view text);
  void assign(const Expr& target, const Value& value, const ScopePtr& scope);
  Value make_macro(const Stmt& node, const ScopePtr& scope);
  std::shared_ptr<const ListNode> filtered(const Stmt& node, const Value& items, const ScopePtr& scope);

  const ParsedTemplate& parsed_;
  const Value& variables_;
  Meter& meter_;
  const Clock& clock_;
  ScopePtr root_;
  std::vector<TextSpan>* generation_;
  const std::string* result_ = nullptr;  // what render() writes to
  std::vector<std::shared_ptr<Namespace>> spaces_;
  std::vector<std::weak_ptr<Scope>> captured_;  // scopes that macros hold, and may be held by in turn
  int depth_ = 0;
  int function_depth_ = 0;
};

}  // namespace llmhost::text::jinja
