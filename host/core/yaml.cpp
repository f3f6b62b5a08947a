#include "core/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/names.h"

namespace llmhost {
namespace {

size_t count_nodes(const YamlNode& node) {
  size_t count = 1 + node.keys.size();
  for (const YamlNode& item : node.items) count += count_nodes(item);
  return count;
}

size_t depth_of(const YamlNode& node) {
  size_t depth = 0;
  for (const YamlNode& item : node.items) depth = std::max(depth, depth_of(item));
  return depth + 1;
}

// Builds the tree from the parser's events; the stack holds the collections that are still open.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view source, const YamlLimits& limits) : source_(source), limits_(limits) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(make(YamlNode::Kind::kNull, mark), anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node = make(YamlNode::Kind::kScalar, mark);
    node.text = value;
    node.is_quoted = tag == "!";
    if (!node.is_quoted && (value.empty() || value == "~" || value == "null"))
      node.kind = YamlNode::Kind::kNull;
    add(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(mark, "an alias inside the value that it stands for");
    spend(mark, count_nodes(found->second));
    if (stack_.size() + depth_of(found->second) > limits_.max_depth) fail_depth(mark);
    add(found->second, 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(make(YamlNode::Kind::kList, mark), anchor, mark);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(make(YamlNode::Kind::kMap, mark), anchor, mark);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor;
    std::set<std::string> seen;  // a map's keys so far
  };

  [[noreturn]] void fail(const YAML::Mark& mark, std::string_view what) const {
    throw_invalid("{}:{}:{}: {}", source_, mark.line + 1, mark.column + 1, what);
  }
  [[noreturn]] void fail_depth(const YAML::Mark& mark) const {
    fail(mark, fmt::format("nested deeper than {} levels", limits_.max_depth));
  }

  void spend(const YAML::Mark& mark, size_t nodes) {
    if (nodes > limits_.max_nodes - nodes_)
      fail(mark,
           fmt::format("more than {} values (aliases count as what they expand to)", limits_.max_nodes));
    nodes_ += nodes;
  }

  YamlNode make(YamlNode::Kind kind, const YAML::Mark& mark) {
    spend(mark, 1);
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }

  void open(YamlNode node, YAML::anchor_t anchor, const YAML::Mark& mark) {
    if (stack_.size() + 1 > limits_.max_depth) fail_depth(mark);
    if (expects_key()) fail(mark, "a key must be a single value, not a list or a map");
    stack_.push_back({std::move(node), anchor, {}});
  }

  void close() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    add(std::move(done.node), done.anchor);
  }

  bool expects_key() const {
    if (stack_.empty()) return false;
    const YamlNode& top = stack_.back().node;
    return top.kind == YamlNode::Kind::kMap && top.keys.size() == top.items.size();
  }

  void add(YamlNode node, YAML::anchor_t anchor) {
    if (anchor != 0) {
      YAML::Mark mark;
      mark.line = node.line - 1;
      mark.column = node.column - 1;
      spend(mark, count_nodes(node));
      anchors_[anchor] = node;
    }
    if (stack_.empty()) {
      root_ = std::move(node);
    } else if (expects_key()) {
      add_key(std::move(node));
    } else {
      stack_.back().node.items.push_back(std::move(node));
    }
  }

  void add_key(YamlNode key) {
    if (key.kind != YamlNode::Kind::kScalar)
      throw_invalid("{}:{}:{}: a key must be a single value that is not null", source_, key.line, key.column);
    if (!stack_.back().seen.insert(key.text).second)
      throw_invalid("{}:{}:{}: {} is given twice in this map; keep one", source_, key.line, key.column,
                    quote_name(key.text));
    stack_.back().node.keys.push_back(std::move(key));
  }

  std::string_view source_;
  YamlLimits limits_;
  size_t nodes_ = 0;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  YamlNode root_;
};

// The length of the well-formed UTF-8 sequence that `text` begins with; 0 where there is none.
size_t utf8_length(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  const size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  const unsigned second = at(1);
  const bool is_overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool is_no_character = (first == 0xed && second >= 0xa0) || (first == 0xf4 && second >= 0x90);
  return is_overlong || is_no_character ? 0 : length;
}

// The parser takes byte 4 for the end of the file, guesses UTF-16, and mends broken UTF-8: all of that would
// be silent.
void check_characters(std::string_view text, std::string_view source) {
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n') ++line;
    const bool is_control = (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f;
    const size_t length = is_control ? 0 : utf8_length(text.substr(i));
    if (length == 0)
      throw_invalid("{}:{}: byte 0x{:02x} does not belong in a YAML file; save it as UTF-8 text", source,
                    line, byte);
    i += length;
  }
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  for (size_t i = 0; i < keys.size() && i < items.size(); ++i)
    if (keys[i].text == key) return &items[i];
  return nullptr;
}

YamlNode parse_yaml(std::string_view text, std::string_view source, const YamlLimits& limits) {
  if (text.size() > limits.max_bytes)
    throw_invalid("{}: {} bytes of YAML, the limit is {}", source, text.size(), limits.max_bytes);
  check_characters(text, source);
  TreeBuilder builder(source, limits);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return {};
    TreeBuilder second(source, limits);
    if (parser.HandleNextDocument(second))
      throw_invalid("{}: more than one document (a line '---'); put it into a file of its own", source);
  } catch (const YAML::Exception& e) {
    throw_invalid("{}:{}:{}: not valid YAML: {}", source, e.mark.line + 1, e.mark.column + 1,
                  quote_name(e.msg, 200));
  }
  return builder.take();
}

YamlNode read_yaml_file(const std::filesystem::path& path, const YamlLimits& limits) {
  return parse_yaml(read_file(path, limits.max_bytes), path.string(), limits);
}

}  // namespace llmhost
