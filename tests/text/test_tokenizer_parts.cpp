// Single parts: special ids, patterns, long inputs, invalid UTF-8, streaming, the embedded tables.
#include <doctest/doctest.h>

#include <chrono>
#include <fstream>

#include "support/paths.h"
#include "text/clean_spaces.h"
#include "text/tokenizer.h"
#include "text/tokenizer_regex.h"
#include "text/tokenizer_registry.h"
#include "text/tokenizer_utf8.h"

using namespace llmhost::text;
using llmhost::test::data;

TEST_CASE("a folder's config names the special ids") {
  const auto tokenizer = load_tokenizer(data("tokenizers/stories260K"));
  CHECK(tokenizer->special_ids().bos == 1);
  CHECK(tokenizer->special_ids().eos == 2);
  CHECK(tokenizer->special_ids().unk == 0);
  CHECK(tokenizer->adds_bos());
  CHECK_FALSE(tokenizer->adds_eos());
  CHECK(tokenizer->vocab_size() == 512);
  CHECK(tokenizer->piece_of(1) == "<s>");
  CHECK(tokenizer->id_of("</s>") == 2);
  CHECK(tokenizer->is_special(2));
  CHECK_FALSE(tokenizer->is_special(300));
  CHECK(tokenizer->piece_of(-5).empty());
  CHECK(tokenizer->piece_of(512).empty());
}

TEST_CASE("tokenizer.json and tokenizer.model of one model agree on plain text") {
  const auto json = load_tokenizer(data("tokenizers/stories260K/tokenizer.json"));
  const auto model = load_tokenizer(data("tokenizers/stories260K/tokenizer.model"));
  for (const char* text : {"Once upon a time, there was a little girl.", "h\xC3\xA9llo", "\xE4\xBD\xA0"}) {
    CHECK(json->encode(text) == model->encode(text));
    CHECK(model->decode(model->encode(text)) == text);
  }
}

TEST_CASE("one very long word is merged in far less than quadratic time") {
  const auto tokenizer = load_tokenizer(data("tokenizers/gguf-spm/vocab.gguf"));
  const auto start = std::chrono::steady_clock::now();
  const std::string word(500'000, 'a');
  const auto ids = tokenizer->encode(word);
  CHECK(tokenizer->decode(ids) == word);
  // Takes 0.2 s; the quadratic algorithm takes minutes. The limit allows for a slow and busy machine with
  // sanitizers.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
}

TEST_CASE("invalid UTF-8 is read as U+FFFD and never leaves decode()") {
  CHECK(replace_invalid_utf8("a\xC3") == "a\xEF\xBF\xBD");
  CHECK(replace_invalid_utf8("\xE4\xBD") == "\xEF\xBF\xBD");                              // one cut character
  CHECK(replace_invalid_utf8("\xED\xA0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  const auto tokenizer = load_tokenizer(data("tokenizers/stories260K/tokenizer.json"));
  CHECK(tokenizer->encode("a\xC3") == tokenizer->encode("a\xEF\xBF\xBD"));
  const auto merges = load_tokenizer(data("tokenizers/gguf-merges/vocab.gguf"));
  CHECK(is_valid_utf8(merges->decode(merges->encode("\xFF\xFE ok \x80"))));
}

TEST_CASE("a stream holds back an incomplete character and flushes it as U+FFFD") {
  const auto tokenizer = load_tokenizer(data("tokenizers/gguf-spm/vocab.gguf"));
  StreamDecoder stream(*tokenizer);
  const int32_t f0 = tokenizer->id_of("<0xF0>").value();
  const int32_t nine_f = tokenizer->id_of("<0x9F>").value();
  CHECK(stream.push(f0).empty());
  CHECK(stream.push(nine_f).empty());
  CHECK(stream.finish() == "\xEF\xBF\xBD");
}

TEST_CASE("patterns are rewritten for PCRE2") {
  CHECK(translate_regex("\\s+", RegexFlavor::kPerl, "t") == "\\p{White_Space}+");
  CHECK(translate_regex("\\p{N}{1,3}+", RegexFlavor::kOniguruma, "t") == "(?:\\p{N}{1,3})+");
  CHECK(translate_regex("\\p{N}{1,3}+", RegexFlavor::kPerl, "t") == "\\p{N}{1,3}+");
  CHECK(translate_regex("[\\p{L}&&[^a]]*", RegexFlavor::kOniguruma, "t") == "(?:(?![a])[\\p{L}])*");
  CHECK(translate_regex("\\h", RegexFlavor::kOniguruma, "t") == "[0-9a-fA-F]");
  // U+180E is white space for PCRE2's own \s, not for the Unicode property.
  std::vector<Match> matches;
  Regex("\\s", RegexFlavor::kOniguruma, "t").split("\xE1\xA0\x8E", matches);
  REQUIRE(matches.size() == 1);
  CHECK_FALSE(matches[0].is_match);
}

TEST_CASE("cleaning spaces gives the same text in one piece and byte by byte") {
  const std::string text = "I 'm here , you 're . It ' s ' ok 's ! don 't  '  ' x '";
  CleanSpaces whole;
  std::string expected;
  whole.push(text, expected);
  whole.finish(expected);
  CHECK(expected == "I'm here, you're. It's'ok's! don 't ''x '");
  CleanSpaces parts;
  std::string streamed;
  for (const char c : text) parts.push(std::string(1, c), streamed);
  parts.finish(streamed);
  CHECK(streamed == expected);
}

TEST_CASE("every GGUF preset has patterns that compile") {
  const auto ids = gguf_preset_ids();
  CHECK(ids.size() > 80);
  for (const std::string& id : ids) {
    const auto preset = find_gguf_preset(id);
    REQUIRE(preset);
    CHECK_FALSE(preset->patterns.empty());
    for (const std::string& pattern : preset->patterns) CHECK_NOTHROW(Regex(pattern, RegexFlavor::kPerl, id));
  }
  CHECK_FALSE(find_gguf_preset("no-such-id"));
}

TEST_CASE("a rank file with its settings") {
  const auto folder = std::filesystem::path(LLMHOST_BINARY_DIR) / "test_rank_file";
  std::filesystem::create_directories(folder);
  // a=0 b=1 ab=2 space=3 " a"=4
  std::ofstream(folder / "tokenizer.model") << "YQ== 0\nYg== 1\nYWI= 2\nIA== 3\nIGE= 4\n";
  std::ofstream(folder / "tiktoken_config.json")
      << R"({"pattern":" ?\\p{L}+|\\s+","special_tokens":{"<|begin_of_text|>":5,"<|end_of_text|>":6}})";
  const auto tokenizer = load_tokenizer(folder);
  CHECK(tokenizer->encode("ab ab") == std::vector<int32_t>{2, 3, 2});
  CHECK(tokenizer->encode("ab", {.add_special = true}) == std::vector<int32_t>{5, 2});
  CHECK(tokenizer->encode("a<|end_of_text|>") == std::vector<int32_t>{0, 6});
  CHECK(tokenizer->decode(std::vector<int32_t>{5, 2, 6}, {.skip_special = true}) == "ab");
  CHECK(tokenizer->special_ids().eos == 6);
}
