#include <algorithm>

#include "text/template/filters.h"
#include "text/template/parser.h"
#include "text/template/template_error.h"

namespace llmhost::text::jinja {
namespace {

constexpr int kMaxNesting = 300;  // a pair of parentheses counts twice, a block once
constexpr int kMaxDepth = 1000;   // of a tree, which a long chain of operators makes as well

int depth_of(const CallArguments& arguments) {
  int depth = 0;
  const auto see = [&](const ExprPtr& node) {
    if (node) depth = std::max(depth, node->depth);
  };
  for (const auto& node : arguments.positional) see(node);
  for (const auto& [name, node] : arguments.named) see(node);
  see(arguments.extra_positional);
  see(arguments.extra_named);
  return depth;
}

}  // namespace

class Parser::Deeper {
 public:
  explicit Deeper(Parser& parser) : parser_(parser) {
    if (parser_.nesting_ >= kMaxNesting)
      parser_.fail_here(fmt::format("the template is nested more than {} deep", kMaxNesting));
    ++parser_.nesting_;
  }
  ~Deeper() { --parser_.nesting_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  Parser& parser_;
};

ExprPtr Parser::make(ExprKind kind, size_t offset) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->offset = offset;
  return node;
}

ExprPtr Parser::finish(ExprPtr node) {
  int depth = depth_of(node->arguments);
  for (const auto& child : node->children)
    if (child) depth = std::max(depth, child->depth);
  node->depth = depth + 1;
  if (node->depth > kMaxDepth)
    fail_at(node->offset, fmt::format("the expression has more than {} operators in a row", kMaxDepth));
  return node;
}

// A conditional expression's parts may never run: what is unknown in them fails only when it does.
void Parser::excuse(size_t from) {
  for (size_t i = from; i < unknown_.size(); ++i) unknown_[i].excused = true;
}

ExprPtr Parser::parse_expression(bool with_conditional) {
  const Deeper deeper(*this);
  const size_t unknown_before = unknown_.size();
  ExprPtr value = parse_or();
  while (with_conditional && current().is_name("if")) {
    auto node = make(ExprKind::kConditional, next().offset);
    ExprPtr condition = parse_or();
    ExprPtr otherwise = skip_name("else") ? parse_expression() : nullptr;
    node->children.push_back(std::move(value));
    node->children.push_back(std::move(condition));
    node->children.push_back(std::move(otherwise));
    value = finish(std::move(node));
    excuse(unknown_before);
  }
  return value;
}

ExprPtr Parser::parse_or() {
  ExprPtr left = parse_and();
  while (current().is_name("or")) {
    auto node = make(ExprKind::kOr, next().offset);
    node->children.push_back(std::move(left));
    node->children.push_back(parse_and());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_and() {
  ExprPtr left = parse_not();
  while (current().is_name("and")) {
    auto node = make(ExprKind::kAnd, next().offset);
    node->children.push_back(std::move(left));
    node->children.push_back(parse_not());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Deeper deeper(*this);
  auto node = make(ExprKind::kNot, next().offset);
  node->children.push_back(parse_not());
  return finish(std::move(node));
}

ExprPtr Parser::parse_compare() {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  ExprPtr first = parse_sum();
  auto node = make(ExprKind::kCompare, current().offset);
  node->children.push_back(std::move(first));
  for (;;) {
    const auto* op = std::find_if(std::begin(kOps), std::end(kOps),
                                  [&](const auto& entry) { return current().is_operator(entry.first); });
    if (op != std::end(kOps)) {
      next();
      node->comparisons.push_back(op->second);
    } else if (skip_name("in")) {
      node->comparisons.push_back(CompareOp::kIn);
    } else if (current().is_name("not") && look().is_name("in")) {
      next();
      next();
      node->comparisons.push_back(CompareOp::kNotIn);
    } else {
      break;
    }
    node->children.push_back(parse_sum());
  }
  if (node->comparisons.empty()) return std::move(node->children[0]);
  return finish(std::move(node));
}

ExprPtr Parser::parse_binary(ExprPtr (Parser::*operand)(),
                             std::initializer_list<std::pair<std::string_view, BinaryOp>> ops) {
  ExprPtr left = (this->*operand)();
  for (;;) {
    const auto* op = std::find_if(ops.begin(), ops.end(),
                                  [&](const auto& entry) { return current().is_operator(entry.first); });
    if (op == ops.end()) return left;
    auto node = make(ExprKind::kBinary, next().offset);
    node->op = op->second;
    node->children.push_back(std::move(left));
    node->children.push_back((this->*operand)());
    left = finish(std::move(node));
  }
}

ExprPtr Parser::parse_sum() {
  return parse_binary(&Parser::parse_concat, {{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSub}});
}

ExprPtr Parser::parse_concat() {
  ExprPtr first = parse_product();
  if (!current().is_operator("~")) return first;
  auto node = make(ExprKind::kConcat, current().offset);
  node->children.push_back(std::move(first));
  while (skip_operator("~")) node->children.push_back(parse_product());
  return finish(std::move(node));
}

ExprPtr Parser::parse_product() {
  return parse_binary(
      &Parser::parse_power,
      {{"*", BinaryOp::kMul}, {"/", BinaryOp::kDiv}, {"//", BinaryOp::kFloorDiv}, {"%", BinaryOp::kMod}});
}

ExprPtr Parser::parse_power() {
  ExprPtr left = parse_unary();
  while (current().is_operator("**")) {
    auto node = make(ExprKind::kBinary, next().offset);
    node->op = BinaryOp::kPow;
    node->children.push_back(std::move(left));
    node->children.push_back(parse_unary());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filter) {
  ExprPtr node;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Deeper deeper(*this);
    const Token sign = next();
    node = make(sign.text == "-" ? ExprKind::kNegate : ExprKind::kPositive, sign.offset);
    node->children.push_back(parse_unary(false));
    node = finish(std::move(node));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filter ? parse_filter_or_test(std::move(node)) : std::move(node);
}

ExprPtr Parser::parse_name(bool with_namespace) {
  const Token token = next();
  auto node = make(ExprKind::kConst, token.offset);
  if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
    node->constant = Value::boolean(token.text == "true" || token.text == "True");
  } else if (token.text == "none" || token.text == "None") {
    node->constant = Value::none();
  } else {
    node->kind = ExprKind::kName;
    node->name = token.text;
    if (with_namespace && skip_operator(".")) {
      node->kind = ExprKind::kNamespace;
      node->attribute = expect_name();
    }
    for (Signature* function : functions_) {
      function->uses_varargs |= token.text == "varargs";
      function->uses_kwargs |= token.text == "kwargs";
      function->uses_caller |= token.text == "caller";
    }
  }
  return node;
}

ExprPtr Parser::parse_primary(bool with_namespace) {
  if (current().kind == TokenKind::kName) return parse_name(with_namespace);
  if (current().is_operator("[")) return parse_list();
  if (current().is_operator("{")) return parse_dict();
  if (current().is_operator("(")) {
    next();
    ExprPtr inner = parse_tuple(false, true, {}, true, false);
    expect_operator(")");
    return inner;
  }
  if (current().kind != TokenKind::kString && current().kind != TokenKind::kInteger &&
      current().kind != TokenKind::kFloat)
    fail_here("unexpected " + describe(current()));
  const Token token = next();
  auto node = make(ExprKind::kConst, token.offset);
  if (token.kind == TokenKind::kString) {
    std::string text = token.text;
    while (current().kind == TokenKind::kString) text += next().text;
    node->constant = text_value(std::move(text));
  } else {
    node->constant =
        token.kind == TokenKind::kInteger ? Value::integer(token.integer) : Value::real(token.real);
  }
  return node;
}

bool Parser::at_tuple_end(const Names& ends) const {
  const Token& token = current();
  if (token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd || token.is_operator(")"))
    return true;
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view name) { return token.is_name(name); });
}

ExprPtr Parser::parse_tuple(bool simplified, bool with_conditional, const Names& ends, bool parentheses,
                            bool with_namespace) {
  const Deeper deeper(*this);
  auto node = make(ExprKind::kTuple, current().offset);
  bool is_tuple = false;
  for (;;) {
    if (!node->children.empty()) expect_operator(",");
    if (at_tuple_end(ends)) break;
    node->children.push_back(simplified ? parse_primary(with_namespace) : parse_expression(with_conditional));
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!node->children.empty()) return std::move(node->children[0]);
    if (!parentheses) fail_here("Expected an expression, got " + describe(current()));
  }
  return finish(std::move(node));
}

ExprPtr Parser::parse_list() {
  auto node = make(ExprKind::kList, next().offset);
  while (!current().is_operator("]")) {
    if (!node->children.empty()) expect_operator(",");
    if (current().is_operator("]")) break;
    node->children.push_back(parse_expression());
  }
  expect_operator("]");
  return finish(std::move(node));
}

ExprPtr Parser::parse_dict() {
  auto node = make(ExprKind::kDict, next().offset);
  while (!current().is_operator("}")) {
    if (!node->children.empty()) expect_operator(",");
    if (current().is_operator("}")) break;
    node->children.push_back(parse_expression());
    expect_operator(":");
    node->children.push_back(parse_expression());
  }
  expect_operator("}");
  return finish(std::move(node));
}

ExprPtr Parser::parse_postfix(ExprPtr node) {
  for (;;) {
    if (current().is_operator(".") || current().is_operator("[")) {
      node = parse_subscript(std::move(node));
    } else if (current().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::parse_filter_or_test(ExprPtr node) {
  for (;;) {
    if (current().is_operator("|")) {
      node = parse_filter(std::move(node), false);
    } else if (current().is_name("is")) {
      node = parse_test(std::move(node));
    } else if (current().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr object) {
  const Token token = next();
  auto node = make(ExprKind::kItem, token.offset);
  node->children.push_back(std::move(object));
  if (token.text == ".") {
    const Token name = next();
    if (name.kind == TokenKind::kName) {
      node->kind = ExprKind::kAttribute;
      node->name = name.text;
      return finish(std::move(node));
    }
    if (name.kind != TokenKind::kInteger) fail_at(name.offset, "expected name or number");
    node->children.push_back(make(ExprKind::kConst, name.offset));
    node->children.back()->constant = Value::integer(name.integer);
    return finish(std::move(node));
  }
  std::vector<ExprPtr> keys;
  while (!current().is_operator("]")) {
    if (!keys.empty()) expect_operator(",");
    keys.push_back(parse_subscribed());
  }
  expect_operator("]");
  if (keys.size() == 1) {
    node->children.push_back(std::move(keys[0]));
    return finish(std::move(node));
  }
  auto tuple = make(ExprKind::kTuple, token.offset);
  tuple->children = std::move(keys);
  node->children.push_back(finish(std::move(tuple)));
  return finish(std::move(node));
}

ExprPtr Parser::parse_subscribed() {
  auto node = make(ExprKind::kSlice, current().offset);
  node->children.resize(3);
  if (!current().is_operator(":")) {
    ExprPtr value = parse_expression();
    if (!current().is_operator(":")) return value;
    node->children[0] = std::move(value);
  }
  next();
  const auto at_end = [&] { return current().is_operator("]") || current().is_operator(","); };
  if (!current().is_operator(":") && !at_end()) node->children[1] = parse_expression();
  if (skip_operator(":") && !at_end()) node->children[2] = parse_expression();
  return finish(std::move(node));
}

CallArguments Parser::parse_arguments() {
  const size_t offset = current().offset;
  CallArguments out;
  const auto ensure = [&](bool ok) {
    if (!ok) fail_at(offset, "invalid syntax for function call expression");
  };
  expect_operator("(");
  for (bool first = true; !current().is_operator(")"); first = false) {
    if (!first) {
      expect_operator(",");
      if (current().is_operator(")")) break;
    }
    if (skip_operator("*")) {
      ensure(!out.extra_positional && !out.extra_named);
      out.extra_positional = parse_expression();
    } else if (skip_operator("**")) {
      ensure(!out.extra_named);
      out.extra_named = parse_expression();
    } else if (current().kind == TokenKind::kName && look().is_operator("=")) {
      ensure(!out.extra_named);
      std::string name = next().text;
      next();
      for (const auto& known : out.named) ensure(known.first != name);
      out.named.emplace_back(std::move(name), parse_expression());
    } else {
      ensure(!out.extra_positional && !out.extra_named && out.named.empty());
      out.positional.push_back(parse_expression());
    }
  }
  expect_operator(")");
  return out;
}

ExprPtr Parser::parse_call(ExprPtr callee) {
  auto node = make(ExprKind::kCall, current().offset);
  node->children.push_back(std::move(callee));
  node->arguments = parse_arguments();
  return finish(std::move(node));
}

std::string Parser::dotted_name() {
  std::string name = expect_name();
  while (skip_operator(".")) name += "." + expect_name();
  return name;
}

ExprPtr Parser::parse_filter(ExprPtr input, bool start_inline) {
  while (start_inline || current().is_operator("|")) {
    if (!start_inline) next();
    start_inline = false;
    auto node = make(ExprKind::kFilter, current().offset);
    node->name = dotted_name();
    if (find_filter(node->name) == nullptr)
      unknown_.push_back({"No filter named '" + node->name + "'.", node->offset, soft_});
    node->children.push_back(std::move(input));
    if (current().is_operator("(")) node->arguments = parse_arguments();
    input = finish(std::move(node));
  }
  return input;
}

ExprPtr Parser::parse_test(ExprPtr input) {
  const size_t offset = next().offset;
  const bool negated = skip_name("not");
  auto node = make(ExprKind::kTest, offset);
  node->name = dotted_name();
  if (find_test(node->name) == nullptr)
    unknown_.push_back({"No test named '" + node->name + "'.", offset, soft_});
  node->children.push_back(std::move(input));
  const Token& token = current();
  if (token.is_operator("(")) {
    node->arguments = parse_arguments();
  } else if ((token.kind == TokenKind::kName || token.kind == TokenKind::kString ||
              token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
              token.is_operator("[") || token.is_operator("{")) &&
             !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    if (token.is_name("is")) fail_here("You cannot chain multiple tests with is");
    const Deeper deeper(*this);
    node->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  ExprPtr result = finish(std::move(node));
  if (!negated) return result;
  auto inverse = make(ExprKind::kNot, offset);
  inverse->children.push_back(std::move(result));
  return finish(std::move(inverse));
}

}  // namespace llmhost::text::jinja
