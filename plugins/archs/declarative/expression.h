// The expressions of declarative architectures: numbers, texts and booleans worked out from a model's config.
//
//   $rms_norm_eps | 1e-6            a config key, and what holds when it is absent
//   hidden / heads                   sizes and variables by their names
//   $layer_types[i] == 'full_attention' ? 0 : $sliding_window
//
// In order of binding, the loosest first: c ? a : b, |, or, and, not, comparisons, + -, * / %, unary -, **,
// and calls sqrt min max log floor has(tensor) given(key) present(key) count(list). A bare word that is no
// variable is a text. Every key in an expression counts as read, in the branches that are not taken as well:
// the expression is where it is understood.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "llmhost/arch.hpp"

namespace declarative {

// Nothing stands for an absent or null key. Numbers are doubles: exact for every count that a config holds.
using Value = std::variant<std::monostate, bool, double, std::string>;

std::string to_text(const Value& value);

// What names mean while an expression is worked out.
struct Context {
  const llmh::Model& model;
  std::map<std::string, Value, std::less<>> variables;
};

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
