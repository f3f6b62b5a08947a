// The syntax tree of a template. Immutable once parsed, so that any number of renders may share it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/template/operators.h"
#include "text/template/value.h"

namespace llmhost::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind : uint8_t {
  kConst,      // constant
  kName,       // name
  kNamespace,  // name.attribute, only as a target of set
  kTuple,      // children
  kList,       // children
  kDict,       // children: key, value, key, value…
  kAttribute,  // children[0].name
  kItem,       // children[0][children[1]]
  kSlice,      // children: start, stop, step, null where absent; only as the second child of kItem
  kCall,       // children[0](call)
  kFilter,     // children[0] | name(call); children[0] is null for the filters of filter and set blocks
  kTest,       // children[0] is name(call)
  kNot,
  kNegate,
  kPositive,  // children[0]
  kBinary,    // children[0] op children[1]
  kAnd,
  kOr,           // children[0], children[1]
  kCompare,      // children[0] comparisons[0] children[1] comparisons[1] …
  kConcat,       // children
  kConditional,  // children: value, condition, else (or null)
};

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr extra_positional;  // *args
  ExprPtr extra_named;       // **kwargs
};

struct Expr {
  ExprKind kind = ExprKind::kConst;
  BinaryOp op = BinaryOp::kAdd;
  int depth = 1;  // of the tree below
  size_t offset = 0;
  std::string name;
  std::string attribute;
  Value constant;
  std::vector<ExprPtr> children;
  std::vector<CompareOp> comparisons;
  CallArguments arguments;
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

enum class StmtKind : uint8_t {
  kData,         // text
  kOutput,       // expressions
  kIf,           // branches: condition and body; else_body
  kFor,          // target, expressions[0] the iterable, condition, recursive, body, else_body
  kSet,          // target, expressions[0]
  kSetBlock,     // target, expressions[0] a filter chain or null, body
  kMacro,        // signature, body
  kCallBlock,    // signature of the caller, expressions[0] the call, body
  kFilterBlock,  // expressions[0] the filter chain, body
  kWith,         // targets with expressions, body
  kBlock,        // text the name, scoped, body
  kScope,        // body in a scope of its own
  kGeneration,   // the same, where the template marks what the assistant says
  kBreak,
  kContinue,
  kRefused,  // text says why
};

struct Signature {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
};

struct Branch {
  ExprPtr condition;
  Body body;
};

struct Stmt {
  StmtKind kind = StmtKind::kData;
  size_t offset = 0;
  std::string text;
  ExprPtr target;
  ExprPtr condition;
  std::vector<ExprPtr> targets;
  std::vector<ExprPtr> expressions;
  std::vector<Branch> branches;
  Body body;
  Body else_body;
  bool recursive = false;
  bool scoped = false;
  std::shared_ptr<Signature> signature;
};

}  // namespace llmhost::text::jinja
