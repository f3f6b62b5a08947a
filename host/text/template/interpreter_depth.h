// Counts how deep an interpreter is in the syntax tree, over macros and loops.
#pragma once

#include "text/template/interpreter.h"

namespace llmhost::text::jinja {

class Interpreter::Depth {
 public:
  explicit Depth(Interpreter& interpreter) : interpreter_(interpreter) {
    if (interpreter_.depth_ >= interpreter_.meter_.limits().max_eval_depth)
      fail("the template recurses too deep");
    ++interpreter_.depth_;
  }
  ~Depth() { --interpreter_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Interpreter& interpreter_;
};

}  // namespace llmhost::text::jinja
