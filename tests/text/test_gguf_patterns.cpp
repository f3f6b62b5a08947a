#include <doctest/doctest.h>

#include "support/paths.h"
#include "text/gguf_patterns.h"
#include "text/tokenizer_registry.h"

using namespace llmhost::text;
using llmhost::test::data;

TEST_CASE("a tokenizer that llama.cpp's converter knows gets the name that it writes") {
  // The vocabulary of a file that it made: the ids tell it from others that are cut by the same patterns.
  const auto tokenizer = load_tokenizer(data("tokenizers/gguf-merges/vocab.gguf"));
  CHECK(known_gguf_patterns(*tokenizer) == "deepseek-coder");
  CHECK(known_gguf_patterns(*load_tokenizer(data("tokenizers/stories260K"))).empty());
}

TEST_CASE("every known name has patterns") {
  for (const auto& [hash, name] : known_gguf_tokenizers().names) {
    CAPTURE(name);
    CHECK(find_gguf_preset(name).has_value());
    CHECK(hash.size() == 64);
  }
}
