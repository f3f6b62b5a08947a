#include "expression.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

namespace declarative {

using llmh::Error;

// `text` is the operator, the name, or the key's path; children are its operands. In a key's path "[]" stands
// for the value of the next child.
struct Expression::Node {
  enum class Kind { kLiteral, kName, kKey, kOperator, kCall } kind;
  std::string text;
  Value literal;
  std::vector<std::shared_ptr<const Node>> children;
};

namespace {

using Node = Expression::Node;
using NodePtr = std::shared_ptr<const Node>;
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

// --- Values

double number_of(const Value& value, const Node& node) {
  if (const double* number = std::get_if<double>(&value)) return *number;
  if (std::holds_alternative<std::monostate>(value) && node.kind == Kind::kKey)
    fail("config: '" + node.text + "' is missing");
  fail("a number was expected, there is " + to_text(value) +
       (node.text.empty() ? "" : " (" + node.text + ")"));
}

bool truth_of(const Value& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag;
  if (const double* number = std::get_if<double>(&value)) return *number != 0;
  return std::holds_alternative<std::string>(value);
}

Value read_key(const llmh::Model& model, const std::string& key) {
  switch (model.kind_of(key)) {
    case LLMH_KIND_OF_BOOL:
      return *model.find_bool(key);
    case LLMH_KIND_OF_INT:
    case LLMH_KIND_OF_FLOAT:
      return *model.find_float(key);
    case LLMH_KIND_OF_STRING:
      return *model.find_string(key);
    case LLMH_KIND_OF_LIST:
    case LLMH_KIND_OF_OBJECT:
      return Value(true);  // there; its members have keys of their own
    default:
      return {};
  }
}

class Evaluator {
 public:
  explicit Evaluator(const Context& context) : context_(context) {}

  Value value(const Node& node) const {
    switch (node.kind) {
      case Kind::kLiteral:
        return node.literal;
      case Kind::kName: {
        const auto found = context_.variables.find(node.text);
        return found == context_.variables.end() ? Value(node.text) : found->second;
      }
      case Kind::kKey:
        return read_key(context_.model, path_of(node));
      case Kind::kCall:
        return call(node);
      default:
        return operation(node);
    }
  }

 private:
  std::string path_of(const Node& node) const {
    std::string path;
    size_t next = 0;
    for (size_t at = 0; at < node.text.size(); ++at) {
      if (node.text.compare(at, 2, "[]") != 0) {
        path += node.text[at];
        continue;
      }
      const Value index = value(*node.children[next++]);
      path += std::holds_alternative<std::string>(index)
                  ? std::get<std::string>(index)
                  : std::to_string(static_cast<int64_t>(number_of(index, node)));
      ++at;
    }
    return path;
  }

  // Worked out for the keys in it only: what goes wrong there does not matter.
  void visit(const Node& node) const {
    try {
      value(node);
    } catch (const Error&) {
      return;
    }
  }

  Value operation(const Node& node) const {
    const std::string& op = node.text;
    const Node& a = *node.children[0];
    if (op == "not") return Value(!truth_of(value(a)));
    if (op == "neg") return Value(-number_of(value(a), a));
    const Node& b = *node.children[1];
    if (op == "?:") {
      const bool yes = truth_of(value(a));
      const Node& other = *node.children[2];
      visit(yes ? other : b);
      return value(yes ? b : other);
    }
    if (op == "|" || op == "or" || op == "and") {
      const Value left = value(a);
      const bool decided =
          op == "|" ? !std::holds_alternative<std::monostate>(left) : truth_of(left) == (op == "or");
      if (!decided) return op == "|" ? value(b) : Value(truth_of(value(b)));
      visit(b);
      return op == "|" ? left : Value(op == "or");
    }
    if (op == "==") return Value(value(a) == value(b));
    if (op == "!=") return Value(value(a) != value(b));
    const Value left = value(a);
    const Value right = value(b);
    if (op == "+" && std::holds_alternative<std::string>(left))
      return Value(std::get<std::string>(left) + to_text(right));
    return arithmetic(op, number_of(left, a), number_of(right, b));
  }

  static Value arithmetic(const std::string& op, double a, double b) {
    if (op == "+") return Value(a + b);
    if (op == "-") return Value(a - b);
    if (op == "*") return Value(a * b);
    if (op == "**") return Value(std::pow(a, b));
    if (op == "<") return Value(a < b);
    if (op == ">") return Value(a > b);
    if (op == "<=") return Value(a <= b);
    if (op == ">=") return Value(a >= b);
    if (b == 0) fail("a division by zero");
    return op == "/" ? Value(a / b) : Value(std::fmod(a, b));
  }

  Value call(const Node& node) const {
    const auto& arguments = node.children;
    const auto need = [&](size_t n) {
      if (arguments.size() != n)
        fail("'" + node.text + "' takes " + std::to_string(n) + " values, not " +
             std::to_string(arguments.size()));
    };
    const auto text = [&](size_t i) { return to_text(value(*arguments[i])); };
    const auto number = [&](size_t i) { return number_of(value(*arguments[i]), *arguments[i]); };
    if (node.text == "min" || node.text == "max") {
      need(2);
      return Value(node.text == "min" ? std::min(number(0), number(1)) : std::max(number(0), number(1)));
    }
    need(1);
    if (node.text == "sqrt") return Value(std::sqrt(number(0)));
    if (node.text == "log") return Value(std::log(number(0)));
    if (node.text == "floor") return Value(std::floor(number(0)));
    if (node.text == "has") return Value(context_.model.has_tensor(text(0)));
    if (node.text == "rows") {
      const auto shape = context_.model.find_shape(text(0));
      return shape && !shape->empty() ? Value(static_cast<double>(shape->front())) : Value();
    }
    if (node.text == "given") {
      const std::vector<std::string> keys = context_.model.keys();
      return Value(std::find(keys.begin(), keys.end(), text(0)) != keys.end());
    }
    if (node.text == "present") return Value(context_.model.has(text(0)));
    if (node.text == "count") return Value(static_cast<double>(context_.model.size_of(text(0))));
    fail("'" + node.text +
         "' is no function; known are sqrt, log, floor, min, max, has, rows, given, present, count");
  }

  const Context& context_;
};

}  // namespace

std::string to_text(const Value& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const std::string* text = std::get_if<std::string>(&value)) return *text;
  if (const double* number = std::get_if<double>(&value)) {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, *number).ptr;
    return {buffer, end};
  }
  return "nothing";
}

Expression Expression::parse(std::string_view text) {
  Expression expression;
  expression.root_ = Parser(text).parse();
  return expression;
}

Value Expression::evaluate(const Context& context) const {
  return Evaluator(context).value(*root_);
}

}  // namespace declarative
