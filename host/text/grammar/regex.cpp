// Regular expressions as grammars: the usual syntax without what no automaton can do.
#include <fmt/format.h>

#include <memory>

#include "core/error.h"
#include "text/grammar/character_classes.h"
#include "text/grammar/sources.h"

namespace llmhost::text::grammar {
namespace {

struct Node {
  enum class Kind { kCharacter, kSequence, kAlternatives, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;
  CharacterClass set = {};
  std::vector<Node> parts = {};
  int64_t least = 0;
  int64_t most = 0;
  bool has_anchor = false;  // somewhere in it
  size_t offset = 0;
};

class Parser {
 public:
  Parser(std::string_view pattern, std::string_view source) : in_(pattern, source) {}

  Node parse() {
    Node node = parse_alternatives(0);
    if (!in_.at_end()) in_.fail("a ')' that closes nothing");
    return node;
  }
  const PatternReader& in() const { return in_; }

 private:
  static constexpr int kMostDepth = 200;

  Node parse_alternatives(int depth);
  Node parse_sequence(int depth);
  Node parse_one(int depth);
  Node parse_group(int depth);
  bool parse_repeat(Node& node);
  bool parse_counts(int64_t& least, int64_t& most);

  PatternReader in_;
};

Node Parser::parse_alternatives(int depth) {
  if (depth > kMostDepth) in_.fail(fmt::format("groups are nested deeper than {}", kMostDepth));
  Node out{.kind = Node::Kind::kAlternatives, .offset = in_.offset()};
  do {
    out.parts.push_back(parse_sequence(depth));
    out.has_anchor = out.has_anchor || out.parts.back().has_anchor;
  } while (in_.take("|"));
  return out;
}

Node Parser::parse_sequence(int depth) {
  Node out{.kind = Node::Kind::kSequence, .offset = in_.offset()};
  while (!in_.at_end() && !in_.next_is("|") && !in_.next_is(")")) {
    Node part = parse_one(depth);
    while (parse_repeat(part)) {
    }
    out.has_anchor = out.has_anchor || part.has_anchor;
    out.parts.push_back(std::move(part));
  }
  return out;
}

Node Parser::parse_one(int depth) {
  const size_t offset = in_.offset();
  if (in_.take("(")) return parse_group(depth);
  if (in_.take("^")) return {.kind = Node::Kind::kBegin, .has_anchor = true, .offset = offset};
  if (in_.take("$")) return {.kind = Node::Kind::kEnd, .has_anchor = true, .offset = offset};
  Node out{.kind = Node::Kind::kCharacter, .offset = offset};
  if (in_.take("[")) {
    out.set = read_class(in_);
  } else if (in_.take(".")) {
    out.set = any_but_line_ends();
  } else if (in_.take("\\A")) {
    return {.kind = Node::Kind::kBegin, .has_anchor = true, .offset = offset};
  } else if (in_.take("\\Z") || in_.take("\\z")) {
    return {.kind = Node::Kind::kEnd, .has_anchor = true, .offset = offset};
  } else if (in_.take("\\")) {
    out.set = read_escape(in_);
  } else {
    if (std::string_view("*+?").find(in_.peek()) != std::string_view::npos) in_.fail("nothing to repeat");
    const char32_t c = in_.take_character();
    out.set.add(c, c);
  }
  return out;
}

// After '('.
Node Parser::parse_group(int depth) {
  const size_t begin = in_.offset() - 1;
  if (in_.take("?")) {
    if (in_.take("P<") || (in_.next_is("<") && !in_.next_is("<=") && !in_.next_is("<!") && in_.take("<"))) {
      while (!in_.at_end() && !in_.next_is(">")) in_.take_character();
      if (!in_.take(">")) in_.fail("the name of a group has no closing '>'");
    } else if (!in_.take(":")) {
      const bool is_look = in_.next_is("=") || in_.next_is("!") || in_.next_is("<");
      in_.fail_at(begin, is_look ? "lookahead and lookbehind are not supported"
                                 : "this kind of group (flags, conditions, comments) is not supported");
    }
  }
  Node out = parse_alternatives(depth + 1);
  if (!in_.take(")")) in_.fail_at(begin, "a '(' has no closing ')'");
  return out;
}

bool Parser::parse_counts(int64_t& least, int64_t& most) {
  if (in_.take("*")) {
    least = 0;
    most = Expression::kNoLimit;
  } else if (in_.take("+")) {
    least = 1;
    most = Expression::kNoLimit;
  } else if (in_.take("?")) {
    least = 0;
    most = 1;
  } else if (in_.take("{")) {
    const int64_t first = in_.take_number();
    const bool has_comma = in_.take(",");
    const int64_t second = has_comma ? in_.take_number() : first;
    if (!in_.take("}") || (first < 0 && second < 0))
      in_.fail("'{' begins no repetition; write '\\{' for the character");
    least = std::max<int64_t>(first, 0);
    most = second < 0 ? Expression::kNoLimit : second;
    if (most != Expression::kNoLimit && most < least) in_.fail("the repetition ends below its beginning");
  } else {
    return false;
  }
  return true;
}

bool Parser::parse_repeat(Node& node) {
  int64_t least = 0;
  int64_t most = 0;
  if (!parse_counts(least, most)) return false;
  if (in_.next_is("+")) in_.fail("possessive repetitions are not supported");
  in_.take("?");  // lazy: the same texts
  if (node.has_anchor) in_.fail_at(node.offset, "'^' or '$' inside a repetition is not supported");
  Node out{.kind = Node::Kind::kRepeat, .least = least, .most = most, .offset = node.offset};
  out.parts.push_back(std::move(node));
  node = std::move(out);
  return true;
}

// Writes nodes as expressions, with what may stand before and after a match.
class Placer {
 public:
  Placer(const PatternReader& in, RegexMatch match) : in_(in) {
    if (match == RegexMatch::kAnywhere)
      around_ = repeat(character_of(CodeSet{{0, kLastCodePoint}}), 0, Expression::kNoLimit);
  }

  // The node begins, ends the whole expression.
  Expr place(const Node& node, bool begins, bool ends) const {
    switch (node.kind) {
      case Node::Kind::kCharacter:
        return surround(character_of(node.set.narrow), begins, ends);
      case Node::Kind::kRepeat:
        return surround(repeat(place(node.parts[0], false, false), node.least, node.most), begins, ends);
      case Node::Kind::kAlternatives: {
        std::vector<Expr> parts;
        for (const Node& part : node.parts) parts.push_back(place(part, begins, ends));
        return alternatives(std::move(parts));
      }
      case Node::Kind::kSequence:
        return place_sequence(node, begins, ends);
      case Node::Kind::kBegin:
        if (!begins) in_.fail_at(node.offset, "'^' is only supported at the beginning");
        return surround(nothing(), false, ends);
      case Node::Kind::kEnd:
        if (!ends) in_.fail_at(node.offset, "'$' is only supported at the end");
        return surround(nothing(), begins, false);
    }
    return nothing();
  }

 private:
  Expr surround(Expr part, bool begins, bool ends) const {
    if (around_ == nullptr || (!begins && !ends)) return part;
    std::vector<Expr> parts;
    if (begins) parts.push_back(around_);
    parts.push_back(std::move(part));
    if (ends) parts.push_back(around_);
    return sequence(std::move(parts));
  }

  Expr place_sequence(const Node& node, bool begins, bool ends) const {
    size_t first = 0;
    size_t last = node.parts.size();
    bool open_begin = begins;
    bool open_end = ends;
    // What stands before a begin, or behind an end, must be empty, as more of the same is.
    while (begins && first < last && node.parts[first].kind == Node::Kind::kBegin) {
      open_begin = false;
      ++first;
    }
    while (ends && first < last && node.parts[last - 1].kind == Node::Kind::kEnd) {
      open_end = false;
      --last;
    }
    if (first == last) return surround(nothing(), open_begin, open_end);
    std::vector<Expr> parts;
    for (size_t i = first; i < last; ++i) {
      const Node& part = node.parts[i];
      const bool is_first = begins && i == first;
      const bool is_last = ends && i + 1 == last;
      if (part.has_anchor && ((is_first && !open_begin) || (is_last && !open_end)))
        in_.fail_at(part.offset, "'^' or '$' inside a group beside another one is not supported");
      parts.push_back(place(part, is_first && open_begin, is_last && open_end));
    }
    return sequence(std::move(parts));
  }

  const PatternReader& in_;
  Expr around_;
};

}  // namespace

Expr read_regex(std::string_view pattern, RegexMatch match, std::string_view source) {
  Parser parser(pattern, source);
  const Node node = parser.parse();
  return Placer(parser.in(), match).place(node, true, true);
}

}  // namespace llmhost::text::grammar
