#include "document.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace declarative {

using llmh::Error;

namespace {

constexpr int kSchema = 1;
constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr int kMaxDepth = 32;

std::string place(const std::string& origin, const YAML::Mark& mark) {
  if (mark.is_null()) return origin + ": ";
  return origin + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) + ": ";
}

// Aliases could make a small file large without end.
void check_depth(const std::string& origin, const YAML::Node& node, int depth, int& nodes) {
  if (depth > kMaxDepth || ++nodes > 20000)
    throw Error(LLMH_INVALID_ARGUMENT,
                place(origin, node.Mark()) + "the document is nested too deeply or too large");
  std::set<std::string> keys;  // of two equal ones only the first would count
  for (const auto& child : node) {
    if (node.IsMap() && child.first.IsScalar() && !keys.insert(child.first.Scalar()).second)
      throw Error(LLMH_INVALID_ARGUMENT,
                  place(origin, child.first.Mark()) + "key '" + child.first.Scalar() + "' occurs twice");
    if (node.IsMap()) check_depth(origin, child.second, depth + 1, nodes);
    if (node.IsSequence()) check_depth(origin, child, depth + 1, nodes);
  }
}

}  // namespace

void at_mark(const std::string& origin, const YAML::Mark& mark, const std::function<void()>& what) {
  try {
    what();
  } catch (const Error& error) {
    throw Error(error.code(), place(origin, mark) + error.what());
  }
}

YAML::Node parse_document(const std::string& origin, const std::string& text) {
  if (text.size() > kMaxBytes) throw Error(LLMH_INVALID_ARGUMENT, origin + ": larger than 1 MiB");
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    throw Error(LLMH_INVALID_ARGUMENT, place(origin, error.mark) + error.msg);
  }
  if (!root.IsMap())
    throw Error(LLMH_INVALID_ARGUMENT, place(origin, root.Mark()) + "a map of keys is expected");
  int nodes = 0;
  check_depth(origin, root, 0, nodes);
  const YAML::Node schema = root["schema"];
  if (!schema || !schema.IsScalar())
    throw Error(LLMH_INVALID_ARGUMENT, place(origin, root.Mark()) + "'schema: 1' is missing");
  if (schema.Scalar() != std::to_string(kSchema))
    throw Error(LLMH_UNIMPLEMENTED, place(origin, schema.Mark()) + "schema " + schema.Scalar() +
                                        " is not known; this plugin reads schema 1");
  return root;
}

Section::Section(std::string origin, std::string name, const YAML::Node& node, const Context& context)
    : origin_(std::move(origin)), name_(std::move(name)), node_(node), context_(&context) {
  const bool fits = !node_.IsDefined() || node_.IsNull() || node_.IsMap();
  if (!fits) fail_at(node_.Mark(), "'" + name_ + "' must be a map of keys");
}

void Section::fail_at(const YAML::Mark& mark, const std::string& what) const {
  throw Error(LLMH_INVALID_ARGUMENT, place(origin_, mark) + what);
}

// A section that is not there has no place.
YAML::Mark Section::mark() const {
  return node_.IsDefined() ? node_.Mark() : YAML::Mark::null_mark();
}

void Section::fail(const std::string& key, const std::string& what) const {
  const YAML::Node node = find(key);
  fail_at(node.IsDefined() ? node.Mark() : mark(), name_ + "." + key + ": " + what);
}

YAML::Node Section::find(const std::string& key) const {
  asked_->insert(key);
  if (!node_.IsDefined() || !node_.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  const YAML::Node& constant = node_;  // operator[] of a node that is not constant would add the key
  return constant[key];
}

bool Section::has(const std::string& key) const {
  const YAML::Node node = find(key);
  return node.IsDefined() && !node.IsNull();
}

Section Section::section(const std::string& key) const {
  return {origin_, name_.empty() ? key : name_ + "." + key, find(key), *context_};
}

Section Section::section_or_scalar(const std::string& key, const std::string& scalar_key) const {
  const YAML::Node node = find(key);
  if (!node.IsDefined() || !node.IsScalar()) return section(key);
  YAML::Node map(YAML::NodeType::Map);
  map[scalar_key] = node;
  return {origin_, name_ + "." + key, map, *context_};
}

std::vector<Section> Section::sections(const std::string& key) const {
  const YAML::Node node = find(key);
  std::vector<Section> found;
  if (!node.IsDefined() || node.IsNull()) return found;
  if (!node.IsSequence()) fail(key, "a list is expected");
  for (const auto& item : node)
    found.emplace_back(origin_, name_ + "." + key + "[" + std::to_string(found.size()) + "]", item,
                       *context_);
  return found;
}

std::vector<std::string> Section::texts(const std::string& key) const {
  const YAML::Node node = find(key);
  std::vector<std::string> found;
  if (!node.IsDefined() || node.IsNull()) return found;
  if (node.IsScalar()) return {substitute(node.Scalar(), false)};
  if (!node.IsSequence()) fail(key, "a list is expected");
  for (const auto& item : node) {
    if (!item.IsScalar()) fail_at(item.Mark(), "a name is expected");
    found.push_back(substitute(item.Scalar(), false));
  }
  return found;
}

Value Section::value(const std::string& key) const {
  const YAML::Node node = find(key);
  if (!node.IsDefined() || node.IsNull()) return {};
  if (!node.IsScalar()) fail(key, "one value is expected");
  Value result;
  at_mark(origin_, node.Mark(), [&] { result = Expression::parse(node.Scalar()).evaluate(*context_); });
  return result;
}

double Section::number(const std::string& key, double fallback) const {
  const Value found = value(key);
  if (std::holds_alternative<std::monostate>(found)) return fallback;
  if (const double* number = std::get_if<double>(&found)) return *number;
  if (const bool* flag = std::get_if<bool>(&found); flag != nullptr && !*flag) return 0;
  fail(key, to_text(found) + " is no number");
}

int64_t Section::count(const std::string& key, int64_t fallback) const {
  const double found = number(key, static_cast<double>(fallback));
  if (found < 0 || found > 2147483647.0 || found != std::floor(found))
    fail(key, to_text(Value(found)) + " is no count from 0 to 2147483647");
  return static_cast<int64_t>(found);
}

int64_t Section::require_count(const std::string& key) const {
  if (std::holds_alternative<std::monostate>(value(key))) fail(key, "the config does not give it");
  const int64_t found = count(key, 0);
  if (found < 1) fail(key, "is 0, it must be 1 or more");
  return found;
}

bool Section::flag(const std::string& key, bool fallback) const {
  const Value found = value(key);
  if (std::holds_alternative<std::monostate>(found)) return fallback;
  if (const bool* flag = std::get_if<bool>(&found)) return *flag;
  if (const double* number = std::get_if<double>(&found)) return *number != 0;
  fail(key, "'" + to_text(found) + "' is neither true nor false");
}

std::string Section::word(const std::string& key, const std::string& fallback) const {
  const Value found = value(key);
  return std::holds_alternative<std::monostate>(found) ? fallback : to_text(found);
}

std::vector<std::string> Section::words(const std::string& key) const {
  const YAML::Node node = find(key);
  if (!node.IsDefined() || !node.IsSequence()) return {word(key, "")};
  std::vector<std::string> found;
  for (const auto& item : node) {
    if (!item.IsScalar()) fail_at(item.Mark(), "a name is expected");
    at_mark(origin_, item.Mark(),
            [&] { found.push_back(to_text(Expression::parse(item.Scalar()).evaluate(*context_))); });
  }
  return found;
}

size_t Section::choice(const std::string& key, const std::vector<std::string>& words, size_t fallback) const {
  const Value found = value(key);
  if (std::holds_alternative<std::monostate>(found)) return fallback;
  const auto word = std::find(words.begin(), words.end(), to_text(found));
  if (word != words.end()) return static_cast<size_t>(word - words.begin());
  std::string known;
  for (const std::string& each : words) known += (known.empty() ? "" : ", ") + each;
  fail(key, "'" + to_text(found) + "' is not known; known are " + known);
}

std::string Section::text(const std::string& key, const std::string& fallback) const {
  const YAML::Node node = find(key);
  if (!node.IsDefined() || node.IsNull()) return substitute(fallback, false);
  if (!node.IsScalar()) fail(key, "a name is expected");
  return substitute(node.Scalar(), false);
}

std::string Section::module(const std::string& key, const std::string& fallback) const {
  return substitute(text(key, fallback), true);
}

std::string Section::substitute(std::string text, bool with_layer) const {
  for (size_t open = text.find('{'); open != std::string::npos; open = text.find('{', open)) {
    const size_t close = text.find('}', open);
    const std::string name = close == std::string::npos ? "" : text.substr(open + 1, close - open - 1);
    const bool keep = (name == "i" && !with_layer) || name == "j";
    const auto found = context_->variables.find(name);
    if (keep || found == context_->variables.end()) {
      if (!keep) fail_at(mark(), "'" + text + "': {" + name + "} is no variable");
      ++open;
      continue;
    }
    text.replace(open, close - open + 1, to_text(found->second));
  }
  return text;
}

void Section::done() const {
  if (!node_.IsDefined() || !node_.IsMap()) return;
  for (const auto& entry : node_) {
    const std::string key = entry.first.Scalar();
    if (asked_->contains(key)) continue;
    std::string known;
    for (const std::string& each : *asked_) known += (known.empty() ? "" : ", ") + each;
    fail_at(entry.first.Mark(), "unknown key '" + key + "' in '" + name_ + "'; known are " + known);
  }
}

}  // namespace declarative
