// A declarative architecture as it was written: YAML sections whose scalars are expressions, with errors that
// name file, line and column. Each section knows which of its keys were asked for, so that a misspelt one is
// refused.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "expression.h"

namespace declarative {

// Runs what may fail on behalf of a place in a document: llmh::Errors get its file, line and column in front.
void at_mark(const std::string& origin, const YAML::Mark& mark, const std::function<void()>& what);

class Section {
 public:
  // `node` is a map; `name` is for messages.
  Section(std::string origin, std::string name, const YAML::Node& node, const Context& context);

  bool has(const std::string& key) const;
  // The section below `key`; an absent one reads as empty.
  Section section(const std::string& key) const;
  // The value of `key` as a section, or, where it is a plain scalar, as one with the only key `scalar_key`.
  Section section_or_scalar(const std::string& key, const std::string& scalar_key) const;
  // Sections of a list, each a map.
  std::vector<Section> sections(const std::string& key) const;
  // A list of scalars, or one scalar, with names substituted; see text().
  std::vector<std::string> texts(const std::string& key) const;

  // The value of the expression at `key`; nothing when the key is absent or the expression gives nothing.
  Value value(const std::string& key) const;
  // Typed, with what holds when there is nothing. Throw with the place on another type.
  double number(const std::string& key, double fallback) const;
  int64_t count(const std::string& key, int64_t fallback) const;  // a whole number, not negative
  int64_t require_count(const std::string& key) const;            // 1 or more
  bool flag(const std::string& key, bool fallback) const;
  std::string word(const std::string& key,
                   const std::string& fallback) const;  // the text that an expression gives
  // The same of each item of a list, or of the one scalar.
  std::vector<std::string> words(const std::string& key) const;
  // One of `words`, by its index; `fallback` when there is nothing.
  size_t choice(const std::string& key, const std::vector<std::string>& words, size_t fallback) const;
  // A name as it stands, no expression: {variable} is replaced, {i} and {j} stay.
  std::string text(const std::string& key, const std::string& fallback) const;
  // A name with {i} replaced by the layer as well.
  std::string module(const std::string& key, const std::string& fallback) const;

  // Refuses keys that nobody asked for.
  void done() const;
  [[noreturn]] void fail(const std::string& key, const std::string& what) const;
  const Context& context() const { return *context_; }
  const std::string& origin() const { return origin_; }
  std::string substitute(std::string text, bool with_layer) const;

 private:
  YAML::Node find(const std::string& key) const;
  YAML::Mark mark() const;
  [[noreturn]] void fail_at(const YAML::Mark& mark, const std::string& what) const;

  std::string origin_;
  std::string name_;
  YAML::Node node_;
  const Context* context_;
  std::shared_ptr<std::set<std::string>> asked_ = std::make_shared<std::set<std::string>>();
};

// A whole file: parsed, of a known schema. Throws with file, line and column.
YAML::Node parse_document(const std::string& origin, const std::string& text);

}  // namespace declarative
