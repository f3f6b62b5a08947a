// Any bytes as a template: it parses and renders, or throws TemplateError; never anything else, within its
// limits.
#include "text/template/template.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

using namespace llmhost;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto variables = text::jinja::to_value(OrderedJson::parse(
      R"({"s": "Hello, World", "n": 5, "f": 2.5, "lst": [3, 1, 2], "d": {"b": 1, "a": "x", "c": null},
          "uni": "\u00e9\ud83d\ude00\u65e5", "users": [{"name": "Ann", "age": 30}, {"name": "bob", "age": 25}],
          "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}],
          "tools": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
          "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})"));
  text::jinja::RenderOptions options;
  options.limits.max_steps = 20'000;
  options.limits.max_memory_bytes = size_t{1} << 20;
  options.limits.max_output_bytes = size_t{1} << 20;
  options.clock = text::jinja::Clock::at("2024-07-26T14:05:09");
  try {
    text::jinja::Template::parse({reinterpret_cast<const char*>(data), size}, "fuzz")
        .render(variables, options);
  } catch (const text::jinja::TemplateError&) {
  }
  return 0;
}
