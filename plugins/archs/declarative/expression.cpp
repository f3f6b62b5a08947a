// What expressions give: values worked out from a model's config.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "expression_node.h"

namespace declarative {

using llmh::Error;

namespace {

using Kind = Node::Kind;

[[noreturn]] void fail(const std::string& what) {
  throw Error(LLMH_INVALID_ARGUMENT, what);
}

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

// Of the words that lists hold, those that say "nothing special" wherever they occur.
constexpr std::array<std::string_view, 3> kPlainWords = {"full_attention", "global", "attention"};

// The quoted texts in an expression.
void collect_words(const Node& node, std::set<std::string>& words) {
  if (std::holds_alternative<std::string>(node.literal)) words.insert(node.text);
  for (const NodePtr& child : node.children) collect_words(*child, words);
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
  Evaluator(const Context& context, const Node& root) : context_(context), root_(root) {}

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
      path += std::holds_alternative<std::string>(index) ? std::get<std::string>(index)
                                                         : entry(path, number_of(index, node));
      ++at;
    }
    return path;
  }

  // The entry of the list at "path."; lists are whole or empty.
  std::string entry(const std::string& path, double index) const {
    const std::string list = path.substr(0, path.size() - 1);
    const auto size = static_cast<double>(
        context_.model.kind_of(list) == LLMH_KIND_OF_LIST ? context_.model.size_of(list) : 0);
    if (index >= 0 && index < (size > 0 ? size : 1e9)) return std::to_string(static_cast<int64_t>(index));
    fail("config: '" + list + "' has " + to_text(Value(size)) + " entries; entry " + to_text(Value(index)) +
         " is asked for, counted from 0");
  }

  void note_words(const Node& node, const Node& other) const {
    if (node.kind == Kind::kOperator && node.text == "|")
      for (const NodePtr& child : node.children) note_words(*child, other);
    if (node.kind != Kind::kKey || node.children.empty()) return;
    std::set<std::string>& known = context_.comparisons->known[node.text];
    collect_words(root_, known);
    if (other.kind == Kind::kName) known.insert(to_text(value(other)));
    const std::string path = path_of(node);
    const Value found = read_key(context_.model, path);
    if (const std::string* word = std::get_if<std::string>(&found))
      context_.comparisons->found[node.text].emplace(*word, path);
  }

  bool equal(const Node& a, const Node& b) const {
    note_words(a, b);
    note_words(b, a);
    return value(a) == value(b);
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
    if (op == "==" || op == "!=") return Value(equal(a, b) == (op == "=="));
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
  const Node& root_;
};

}  // namespace

void refuse_unknown_words(const Comparisons& comparisons) {
  for (const auto& [list, words] : comparisons.found)
    for (const auto& [word, place] : words) {
      const std::set<std::string>& known = comparisons.known.at(list);
      if (known.contains(word) || std::ranges::find(kPlainWords, word) != kPlainWords.end()) continue;
      std::string all;
      for (const std::string& each : known) all += (all.empty() ? "" : ", ") + each;
      throw Error(LLMH_UNIMPLEMENTED, "config: '" + place + "' is '" + word +
                                          "', which this architecture does not compute; known are " + all);
    }
}

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

Value Expression::evaluate(const Context& context) const {
  return Evaluator(context, *root_).value(*root_);
}

}  // namespace declarative
