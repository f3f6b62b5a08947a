// Renderer for the Jinja language as chat templates use it: what transformers' sandboxed environment
// (jinja2 3.1, trim_blocks, lstrip_blocks, loop controls, generation tag, its tojson) renders, byte for byte,
// or an error.
//
// A Template is parsed once and may be rendered by many threads at the same time. Templates come from
// strangers: they see nothing but their variables, and every render is bounded by RenderOptions::limits.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "text/template/clock.h"
#include "text/template/meter.h"
#include "text/template/template_error.h"
#include "text/template/value.h"

namespace llmhost::text::jinja {

// A part of the rendered text; bytes.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
};

struct RenderOptions {
  Limits limits;
  Clock clock;  // of strftime_now
  // Where the template's {% generation %} blocks stand in the result, in order; null: not asked for. Those
  // inside a macro, a filter block or a set block are left out: their text is a value like any other.
  std::vector<TextSpan>* generation = nullptr;
};

class Template {
 public:
  // `name` stands in errors. Throws TemplateError.
  static Template parse(std::string_view source, std::string name);

  // `variables` is a dict. Throws TemplateError; for the template's raise_exception(message), the message is
  // exactly that.
  std::string render(const Value& variables, const RenderOptions& options = {}) const;
  const std::string& name() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

Value to_value(const OrderedJson& json);

}  // namespace llmhost::text::jinja
