// The expressions of declarative architectures: numbers, texts and booleans worked out from a model's config.
//
//   $rms_norm_eps | 1e-6            a config key, and what holds when it is absent
//   hidden / heads                   sizes and variables by their names
//   $layer_types[i] == 'full_attention' ? 0 : $sliding_window
//
// In order of binding, the loosest first: c ? a : b, |, or, and, not, comparisons, + -, * / %, unary -, **,
// and calls sqrt min max log floor has(tensor) given(key) present(key) count(list). A bare word that is no
// variable is a text. An entry behind the end of a list that is not empty is an error. Every key in an
// expression counts as read, in the branches that are not taken as well: the expression is where it is
// understood.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <variant>

#include "llmhost/arch.hpp"

namespace declarative {

// Nothing stands for an absent or null key. Numbers are doubles: exact for every count that a config holds.
using Value = std::variant<std::monostate, bool, double, std::string>;

std::string to_text(const Value& value);

// The words of the config's lists (kinds of layers, say) that expressions compared with others, by the list's
// path, and the words that they were compared with there.
struct Comparisons {
  std::map<std::string, std::set<std::string>> known;
  std::map<std::string, std::map<std::string, std::string>> found;  // each word's place in the config
};

// What names mean while an expression is worked out.
struct Context {
  const llmh::Model& model;
  std::map<std::string, Value, std::less<>> variables;
  std::shared_ptr<Comparisons> comparisons = std::make_shared<Comparisons>();
};

// A layer of a kind that no expression knows would be taken for one of the others: refuses it by name.
void refuse_unknown_words(const Comparisons& comparisons);

class Expression {
 public:
  // Throws llmh::Error: what is wrong and at which character (from 1).
  static Expression parse(std::string_view text);
  // Throws llmh::Error for an absent key in arithmetic, a division by zero, operands of the wrong type.
  Value evaluate(const Context& context) const;

  struct Node;

 private:
  std::shared_ptr<const Node> root_;
};

}  // namespace declarative
