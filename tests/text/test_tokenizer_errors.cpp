// What is not understood is refused with one line that names the place.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/error.h"
#include "support/paths.h"
#include "text/tokenizer.h"
#include "text/tokenizer_regex.h"

using llmhost::Error;
using llmhost::text::load_tokenizer;
using llmhost::text::load_tokenizer_json;

namespace {

std::string message_of(const std::string& json) {
  try {
    load_tokenizer_json(json, "t.json");
  } catch (const Error& e) {
    const std::string message = e.what();
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  return "loaded";
}

std::string with_part(const std::string& part) {
  return R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},)" + part + "}";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an unknown part is refused by name and path") {
  const std::string message =
      message_of(with_part(R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Zorro"}]})"));
  CHECK(contains(message, "t.json: pre_tokenizer.pretokenizers[0]"));
  CHECK(contains(message, "'Zorro'"));
  CHECK(contains(message_of(with_part(R"("normalizer":{"type":"Foo"})")), "normalizer 'Foo'"));
  CHECK(contains(message_of(with_part(R"("decoder":{"type":"Foo"})")), "decoder 'Foo'"));
  CHECK(contains(message_of(with_part(R"("post_processor":{"type":"Foo"})")), "post-processor 'Foo'"));
  CHECK(contains(message_of(R"({"model":{"type":"Foo","vocab":{}}})"), "model type 'Foo'"));
}

TEST_CASE("damaged files are refused with the byte offset or the field") {
  CHECK(contains(message_of(""), "byte 0"));
  CHECK(contains(message_of(R"({"model":{"type":"BPE","vocab":{"a":)"), "not valid JSON at byte"));
  CHECK(contains(message_of(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}})"),
                 "'b' is not in the vocabulary"));
  CHECK(
      contains(message_of(R"({"model":{"type":"BPE","vocab":{"a":2000000000},"merges":[]}})"), "2000000000"));
  CHECK(contains(message_of(R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}})"), "not a token id"));
  CHECK(contains(message_of(R"({"version":"1.0"})"), "'model' is missing"));
  CHECK(contains(
      message_of(with_part(R"("normalizer":{"type":"Precompiled","precompiled_charsmap":"////fw=="})")),
      "trie"));
  CHECK(contains(message_of(with_part(
                     R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated"})")),
                 "cannot be compiled"));
}

TEST_CASE("a pattern that backtracks without end fails instead of hanging") {
  const auto tokenizer = load_tokenizer_json(
      with_part(
          R"J("pre_tokenizer":{"type":"Split","pattern":{"Regex":"(?:a|aa)+[xy]"},"behavior":"Isolated"})J"),
      "t.json");
  CHECK_THROWS_AS(tokenizer->encode(std::string(4000, 'a') + "b"), Error);
}

TEST_CASE("a missing file and a folder without tokenizer say so") {
  CHECK_THROWS_AS(load_tokenizer("/nonexistent/tokenizer.json"), Error);
  CHECK_THROWS_AS(load_tokenizer(llmhost::test::data("tokenizers")), Error);
}
