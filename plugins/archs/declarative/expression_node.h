// The tree of a parsed expression.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "expression.h"

namespace declarative {

// `text` is the operator, the name, or the key's path; children are its operands. In a key's path "[]" stands
// for the value of the next child.
struct Expression::Node {
  enum class Kind { kLiteral, kName, kKey, kOperator, kCall } kind;
  std::string text;
  Value literal;
  std::vector<std::shared_ptr<const Node>> children;
};

using Node = Expression::Node;
using NodePtr = std::shared_ptr<const Node>;

}  // namespace declarative
