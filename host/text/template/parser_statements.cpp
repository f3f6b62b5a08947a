#include <algorithm>
#include <utility>

#include "text/template/parser.h"
#include "text/template/template_error.h"

namespace llmhost::text::jinja {
namespace {

constexpr int kMaxBlocks = 100;  // statements inside each other

// Sets a variable for a scope and restores it.
template <typename T>
class Swap {
 public:
  Swap(T& variable, T value) : variable_(variable), saved_(std::exchange(variable, value)) {}
  ~Swap() { variable_ = saved_; }
  Swap(const Swap&) = delete;
  Swap& operator=(const Swap&) = delete;

 private:
  T& variable_;
  T saved_;
};

}  // namespace

ParsedTemplate Parser::parse() {
  ParsedTemplate out;
  out.body = subparse({});
  for (const Unknown& unknown : unknown_)
    if (!unknown.excused) fail_at(unknown.offset, unknown.message);
  out.blocks = std::move(blocks_);
  return out;
}

bool Parser::skip_operator(std::string_view symbol) {
  if (!current().is_operator(symbol)) return false;
  next();
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  next();
  return true;
}

std::string Parser::describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "'template data / text'";
    case TokenKind::kBlockBegin:
      return "'begin of statement block'";
    case TokenKind::kBlockEnd:
      return "'end of statement block'";
    case TokenKind::kVariableBegin:
      return "'begin of print statement'";
    case TokenKind::kVariableEnd:
      return "'end of print statement'";
    case TokenKind::kEnd:
      return "'end of template'";
    case TokenKind::kInteger:
      return "'integer'";
    case TokenKind::kFloat:
      return "'float'";
    case TokenKind::kString:
      return "'string'";
    default:
      return "'" + token.text + "'";
  }
}

void Parser::fail_here(const std::string& message) const {
  fail_at(current().offset, message);
}

void Parser::expect_operator(std::string_view symbol) {
  if (!skip_operator(symbol))
    fail_here(fmt::format("expected token '{}', got {}", symbol, describe(current())));
}

void Parser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind)
    fail_here(fmt::format("expected token '{}', got {}", what, describe(current())));
  next();
}

std::string Parser::expect_name() {
  if (current().kind != TokenKind::kName) fail_here("expected token 'name', got " + describe(current()));
  return next().text;
}

Body Parser::subparse(const Names& ends) {
  Body body;
  while (current().kind != TokenKind::kEnd) {
    const size_t offset = current().offset;
    if (current().kind == TokenKind::kData) {
      auto node = begin(StmtKind::kData);
      node->text = next().text;
      body.push_back(std::move(node));
    } else if (current().kind == TokenKind::kVariableBegin) {
      auto node = begin(StmtKind::kOutput);
      next();
      node->expressions.push_back(parse_tuple(false, true, {}, false, false));
      node->offset = offset;
      expect(TokenKind::kVariableEnd, "end of print statement");
      body.push_back(std::move(node));
    } else {
      next();
      if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return current().is_name(end); }))
        return body;
      body.push_back(statement());
      expect(TokenKind::kBlockEnd, "end of statement block");
    }
  }
  return body;
}

Body Parser::statements(const Names& ends, bool drop_end) {
  skip_operator(":");
  expect(TokenKind::kBlockEnd, "end of statement block");
  if (nesting_ >= kMaxBlocks) fail_here(fmt::format("the template is nested more than {} deep", kMaxBlocks));
  ++nesting_;
  Body body = subparse(ends);
  --nesting_;
  if (current().kind == TokenKind::kEnd)
    fail_here(fmt::format("Unexpected end of template, '{}' is missing", ends.back()));
  if (drop_end) next();
  return body;
}

std::unique_ptr<Stmt> Parser::begin(StmtKind kind) {
  auto node = std::make_unique<Stmt>();
  node->kind = kind;
  node->offset = current().offset;
  return node;
}

std::unique_ptr<Stmt> Parser::statement() {
  using Parse = std::unique_ptr<Stmt> (Parser::*)();
  static constexpr std::pair<std::string_view, Parse> kStatements[] = {
      {"for", &Parser::parse_for},
      {"if", &Parser::parse_if},
      {"set", &Parser::parse_set},
      {"macro", &Parser::parse_macro},
      {"call", &Parser::parse_call_block},
      {"filter", &Parser::parse_filter_block},
      {"with", &Parser::parse_with},
      {"block", &Parser::parse_block},
      {"print", &Parser::parse_print},
      {"autoescape", &Parser::parse_autoescape},
      {"break", &Parser::parse_loop_control},
      {"continue", &Parser::parse_loop_control},
      {"include", &Parser::parse_refused},
      {"extends", &Parser::parse_refused},
      {"import", &Parser::parse_refused},
      {"from", &Parser::parse_refused}};
  if (current().kind != TokenKind::kName) fail_here("tag name expected");
  for (const auto& [name, parse] : kStatements)
    if (current().is_name(name)) return (this->*parse)();
  if (current().is_name("generation")) {
    auto node = begin(StmtKind::kGeneration);
    next();
    const Swap loops(loops_, 0);
    node->body = statements({"endgeneration"}, true);
    return node;
  }
  fail_here("Encountered unknown tag '" + current().text + "'.");
}

void Parser::check_target(const Expr& target) const {
  if (target.kind == ExprKind::kTuple) {
    for (const auto& child : target.children) check_target(*child);
  } else if (target.kind != ExprKind::kName && target.kind != ExprKind::kNamespace) {
    fail_at(target.offset, "can't assign to this expression");
  }
}

ExprPtr Parser::parse_target(bool with_namespace, const Names& ends) {
  ExprPtr target = parse_tuple(true, true, ends, false, with_namespace);
  check_target(*target);
  return target;
}

std::unique_ptr<Stmt> Parser::parse_for() {
  auto node = begin(StmtKind::kFor);
  next();
  node->target = parse_target(false, {"in"});
  if (!skip_name("in")) fail_here("expected token 'in', got " + describe(current()));
  node->expressions.push_back(parse_tuple(false, false, {"recursive"}, false, false));
  if (skip_name("if")) node->condition = parse_expression();
  node->recursive = skip_name("recursive");
  const Swap soft(soft_, false);
  {
    const Swap loops(loops_, loops_ + 1);
    node->body = statements({"endfor", "else"}, false);
  }
  if (next().text != "endfor") node->else_body = statements({"endfor"}, true);
  return node;
}

std::unique_ptr<Stmt> Parser::parse_if() {
  auto node = begin(StmtKind::kIf);
  next();
  const Swap soft(soft_, true);
  for (;;) {
    Branch branch;
    branch.condition = parse_tuple(false, false, {}, false, false);
    branch.body = statements({"elif", "else", "endif"}, false);
    node->branches.push_back(std::move(branch));
    const std::string& tag = next().text;
    if (tag == "elif") continue;
    if (tag == "else") node->else_body = statements({"endif"}, true);
    return node;
  }
}

std::unique_ptr<Stmt> Parser::parse_set() {
  auto node = begin(StmtKind::kSet);
  next();
  node->target = parse_target(true, {});
  if (skip_operator("=")) {
    node->expressions.push_back(parse_tuple(false, true, {}, false, false));
    return node;
  }
  node->kind = StmtKind::kSetBlock;
  node->expressions.push_back(parse_filter(nullptr, false));
  const Swap soft(soft_, false);
  node->body = statements({"endset"}, true);
  return node;
}

void Parser::parse_signature(Signature& signature) {
  expect_operator("(");
  while (!current().is_operator(")")) {
    if (!signature.parameters.empty()) expect_operator(",");
    const size_t offset = current().offset;
    std::string name = expect_name();
    if (std::find(signature.parameters.begin(), signature.parameters.end(), name) !=
        signature.parameters.end())
      fail_at(offset, "the parameter '" + name + "' is given twice");
    signature.parameters.push_back(std::move(name));
    if (skip_operator("=")) {
      signature.defaults.push_back(parse_expression());
    } else if (!signature.defaults.empty()) {
      fail_at(offset, "non-default argument follows default argument");
    }
  }
  expect_operator(")");
}

// The body of a macro or call block: names in it decide which extra arguments it takes.
void Parser::function_body(Stmt& node, std::string_view end) {
  functions_.push_back(node.signature.get());
  const Swap loops(loops_, 0);
  const Swap soft(soft_, false);
  node.body = statements({end}, true);
  functions_.pop_back();
}

std::unique_ptr<Stmt> Parser::parse_macro() {
  auto node = begin(StmtKind::kMacro);
  next();
  node->signature = std::make_shared<Signature>();
  node->signature->name = expect_name();
  functions_.push_back(node->signature.get());
  parse_signature(*node->signature);
  functions_.pop_back();
  function_body(*node, "endmacro");
  return node;
}

std::unique_ptr<Stmt> Parser::parse_call_block() {
  auto node = begin(StmtKind::kCallBlock);
  next();
  node->signature = std::make_shared<Signature>();
  node->signature->name = "caller";
  if (current().is_operator("(")) parse_signature(*node->signature);
  const size_t offset = current().offset;
  node->expressions.push_back(parse_expression());
  if (node->expressions[0]->kind != ExprKind::kCall) fail_at(offset, "expected call");
  function_body(*node, "endcall");
  return node;
}

std::unique_ptr<Stmt> Parser::parse_filter_block() {
  auto node = begin(StmtKind::kFilterBlock);
  next();
  node->expressions.push_back(parse_filter(nullptr, true));
  const Swap soft(soft_, false);
  node->body = statements({"endfilter"}, true);
  return node;
}

std::unique_ptr<Stmt> Parser::parse_with() {
  auto node = begin(StmtKind::kWith);
  next();
  while (current().kind != TokenKind::kBlockEnd) {
    if (!node->targets.empty()) expect_operator(",");
    node->targets.push_back(parse_target(false, {}));
    expect_operator("=");
    node->expressions.push_back(parse_expression());
  }
  const Swap soft(soft_, false);
  node->body = statements({"endwith"}, true);
  return node;
}

std::unique_ptr<Stmt> Parser::parse_block() {
  auto node = begin(StmtKind::kBlock);
  next();
  node->text = expect_name();
  node->scoped = skip_name("scoped");
  if (skip_name("required"))
    fail_here("required blocks are not supported: a chat template has no child templates");
  if (!blocks_.emplace(node->text, node.get()).second) fail_here("block '" + node->text + "' defined twice");
  const Swap loops(loops_, 0);
  const Swap soft(soft_, false);
  node->body = statements({"endblock"}, true);
  skip_name(node->text);
  return node;
}

std::unique_ptr<Stmt> Parser::parse_autoescape() {
  auto node = begin(StmtKind::kScope);
  next();
  node->condition = parse_expression();
  const Swap soft(soft_, false);
  node->body = statements({"endautoescape"}, true);
  return node;
}

std::unique_ptr<Stmt> Parser::parse_print() {
  auto node = begin(StmtKind::kOutput);
  next();
  while (current().kind != TokenKind::kBlockEnd) {
    if (!node->expressions.empty()) expect_operator(",");
    node->expressions.push_back(parse_expression());
  }
  return node;
}

std::unique_ptr<Stmt> Parser::parse_loop_control() {
  auto node = begin(current().text == "break" ? StmtKind::kBreak : StmtKind::kContinue);
  if (loops_ == 0) fail_here("'" + current().text + "' outside loop");
  next();
  return node;
}

// Other templates cannot be reached; as in Jinja without a loader this fails only when it runs.
std::unique_ptr<Stmt> Parser::parse_refused() {
  auto node = begin(StmtKind::kRefused);
  node->text = "'" + next().text + "' is refused: a chat template cannot reach other templates";
  while (current().kind != TokenKind::kBlockEnd && current().kind != TokenKind::kEnd) next();
  return node;
}

}  // namespace llmhost::text::jinja
