// Turns tokens into the syntax tree, by the grammar of Jinja 3.1 with loop controls and the generation tag.
// Unknown filters and tests are refused here, except (as in Jinja) inside if blocks and conditional
// expressions, which may never run.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/template/ast.h"
#include "text/template/lexer.h"

namespace llmhost::text::jinja {

struct ParsedTemplate {
  Body body;
  std::map<std::string, const Stmt*, std::less<>> blocks;
};

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  ParsedTemplate parse();  // throws PlacedFault

 private:
  using Names = std::vector<std::string_view>;
  class Deeper;
  struct Unknown {
    std::string message;
    size_t offset;
    bool excused;
  };

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool skip_operator(std::string_view symbol);
  bool skip_name(std::string_view name);
  void expect_operator(std::string_view symbol);
  void expect(TokenKind kind, std::string_view what);
  std::string expect_name();
  [[noreturn]] void fail_here(const std::string& message) const;
  static std::string describe(const Token& token);

  // parser_statements.cpp
  Body subparse(const Names& ends);
  Body statements(const Names& ends, bool drop_end);
  std::unique_ptr<Stmt> statement();
  std::unique_ptr<Stmt> begin(StmtKind kind);
  std::unique_ptr<Stmt> parse_for();
  std::unique_ptr<Stmt> parse_if();
  std::unique_ptr<Stmt> parse_set();
  std::unique_ptr<Stmt> parse_macro();
  std::unique_ptr<Stmt> parse_call_block();
  std::unique_ptr<Stmt> parse_filter_block();
  std::unique_ptr<Stmt> parse_with();
  std::unique_ptr<Stmt> parse_block();
  std::unique_ptr<Stmt> parse_autoescape();
  std::unique_ptr<Stmt> parse_print();
  std::unique_ptr<Stmt> parse_loop_control();
  std::unique_ptr<Stmt> parse_refused();
  void parse_signature(Signature& signature);
  void function_body(Stmt& node, std::string_view end);
  ExprPtr parse_target(bool with_namespace, const Names& ends);
  void check_target(const Expr& target) const;

  // parser_expressions.cpp
  ExprPtr make(ExprKind kind, size_t offset);
  ExprPtr finish(ExprPtr node);  // sets and checks the depth
  ExprPtr parse_expression(bool with_conditional = true);
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter = true);
  ExprPtr parse_primary(bool with_namespace = false);
  ExprPtr parse_name(bool with_namespace);
  ExprPtr parse_tuple(bool simplified, bool with_conditional, const Names& ends, bool parentheses,
                      bool with_namespace);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_filter_or_test(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_subscribed();
  ExprPtr parse_call(ExprPtr node);
  CallArguments parse_arguments();
  ExprPtr parse_filter(ExprPtr node, bool start_inline);
  ExprPtr parse_test(ExprPtr node);
  ExprPtr parse_binary(ExprPtr (Parser::*operand)(),
                       std::initializer_list<std::pair<std::string_view, BinaryOp>> ops);
  bool at_tuple_end(const Names& ends) const;
  std::string dotted_name();
  void excuse(size_t from);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;      // around the current statement, inside the innermost function
  bool soft_ = false;  // inside an if block: unknown filters wait for their use
  std::vector<Signature*> functions_;
  std::vector<Unknown> unknown_;
  std::map<std::string, const Stmt*, std::less<>> blocks_;
};

}  // namespace llmhost::text::jinja
