// Expressions as they are written, read into trees.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "expression_node.h"

namespace declarative {

using llmh::Error;

namespace {

using Kind = Node::Kind;

constexpr int kMaxDepth = 192;       // three for each pair of brackets
constexpr size_t kMaxLength = 4096;  // the tree of a long sum is as deep as the sum is long

[[noreturn]] void fail(const std::string& what) {
  throw Error(LLMH_INVALID_ARGUMENT, what);
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

NodePtr make(Kind kind, std::string text, std::vector<NodePtr> children = {}, Value literal = {}) {
  return std::make_shared<const Node>(Node{kind, std::move(text), std::move(literal), std::move(children)});
}

// Precedence climbing over the operators of each level.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  NodePtr parse() {
    if (text_.size() > kMaxLength)
      fail("expression of more than " + std::to_string(kMaxLength) + " characters");
    NodePtr root = conditional();
    skip_space();
    if (at_ < text_.size()) stop("unexpected '" + std::string(1, text_[at_]) + "'");
    return root;
  }

 private:
  [[noreturn]] void stop(const std::string& what) const {
    fail("expression '" + std::string(text_) + "', character " + std::to_string(at_ + 1) + ": " + what);
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  // Takes the token when it comes next; words end where no word character follows.
  bool take(std::string_view token) {
    skip_space();
    if (!text_.substr(at_).starts_with(token)) return false;
    const size_t end = at_ + token.size();
    if (is_word(token.back()) && end < text_.size() && is_word(text_[end])) return false;
    at_ = end;
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) stop("'" + std::string(token) + "' expected");
  }

  NodePtr conditional() {
    if (++depth_ > kMaxDepth) stop("nested too deeply");
    NodePtr condition = binary(0);
    skip_space();
    if (at_ < text_.size() && text_[at_] == '?') {
      ++at_;
      NodePtr yes = conditional();
      expect(":");
      condition = make(Kind::kOperator, "?:", {condition, yes, conditional()});
    }
    --depth_;
    return condition;
  }

  NodePtr binary(size_t level) {
    static const std::vector<std::vector<std::string_view>> kLevels = {
        {"|"}, {"or"}, {"and"}, {"==", "!=", "<=", ">=", "<", ">"}, {"+", "-"}, {"*", "/", "%"}};
    if (level == kLevels.size()) return unary();
    NodePtr left = binary(level + 1);
    for (;;) {
      const auto& operators = kLevels[level];
      const auto op = std::find_if(operators.begin(), operators.end(), [&](auto o) { return take(o); });
      if (op == operators.end()) return left;
      left = make(Kind::kOperator, std::string(*op), {left, binary(level + 1)});
    }
  }

  NodePtr unary() {
    if (++depth_ > kMaxDepth) stop("nested too deeply");
    NodePtr node = unary_here();
    --depth_;
    return node;
  }

  NodePtr unary_here() {
    if (take("not")) return make(Kind::kOperator, "not", {unary()});
    if (take("-")) return make(Kind::kOperator, "neg", {unary()});
    NodePtr base = primary();
    return take("**") ? make(Kind::kOperator, "**", {base, unary()}) : base;
  }

  NodePtr primary() {
    if (++depth_ > kMaxDepth) stop("nested too deeply");
    NodePtr node = primary_here();
    --depth_;
    return node;
  }

  NodePtr primary_here() {
    skip_space();
    if (at_ >= text_.size()) stop("a value expected");
    const char c = text_[at_];
    if (take("(")) {
      NodePtr inner = conditional();
      expect(")");
      return inner;
    }
    if (c == '$') return key();
    if (c == '\'' || c == '"') return quoted(c);
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '.') return number();
    if (!is_word(c)) stop("unexpected '" + std::string(1, c) + "'");
    const std::string name = word();
    if (name == "true" || name == "false") return make(Kind::kLiteral, name, {}, Value(name == "true"));
    if (name == "null") return make(Kind::kLiteral, name);
    if (!take("(")) return make(Kind::kName, name);
    std::vector<NodePtr> arguments;
    if (!take(")")) {
      do arguments.push_back(conditional());
      while (take(","));
      expect(")");
    }
    return make(Kind::kCall, name, std::move(arguments));
  }

  std::string word() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  // $name, then .name and [expression] as often as they come.
  NodePtr key() {
    ++at_;
    std::string path = word();
    if (path.empty()) stop("a config key expected after '$'");
    std::vector<NodePtr> indices;
    for (;;) {
      if (at_ + 1 < text_.size() && text_[at_] == '.' && is_word(text_[at_ + 1])) {
        ++at_;
        path += "." + word();
      } else if (at_ < text_.size() && text_[at_] == '[') {
        ++at_;
        indices.push_back(conditional());
        expect("]");
        path += ".[]";
      } else {
        return make(Kind::kKey, path, std::move(indices));
      }
    }
  }

  NodePtr quoted(char quote) {
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) stop("the text has no closing quote");
    std::string text(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return make(Kind::kLiteral, text, {}, Value(text));
  }

  NodePtr number() {
    double value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc{}) stop("not a number");
    at_ = static_cast<size_t>(end - text_.data());
    return make(Kind::kLiteral, "number", {}, Value(value));
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Expression Expression::parse(std::string_view text) {
  Expression expression;
  expression.root_ = Parser(text).parse();
  return expression;
}

}  // namespace declarative
