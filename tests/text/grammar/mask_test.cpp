#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "text/grammar/grammar_texts.h"
#include "text/tokenizer.h"

using namespace llmhost;
using test::has_bit;

namespace {

struct Source {
  text::GrammarKind kind;
  const char* text;
};

constexpr Source kSources[] = {
    {text::GrammarKind::kJsonObject, ""},
    {text::GrammarKind::kRegex, "[a-z]+( [a-z]+)*\\.?"},
    {text::GrammarKind::kRegex, "(ab|a|b){3,40}"},
    {text::GrammarKind::kEbnf, "root ::= (word \" \"?)*\nword ::= [a-z] word?"},
    {text::GrammarKind::kEbnf, "root ::= \"a\" root \"b\"? | \"(\" root \")\" | \"\""},
    {text::GrammarKind::kChoices, R"(["a","ab","abc","b\n"])"},
    {text::GrammarKind::kJsonSchema,
     R"({"type":"object","properties":{"ab":{"type":"string","maxLength":5},"a":{"type":"array",
      "items":{"type":"integer","minimum":3}}}})"},
    {text::GrammarKind::kJsonSchema,
     R"({"type":"array","items":{"type":"string","pattern":"^a*b.c"},"maxItems":4})"},
    {text::GrammarKind::kJsonSchema,
     R"({"$defs":{"n":{"type":"object","properties":{"c":{"type":"array","items":{"$ref":"#/$defs/n"}}},
      "additionalProperties":false}},"$ref":"#/$defs/n"})"},
};

std::vector<std::string> odd_tokens(std::mt19937& random) {
  const char* const parts[] = {"a",    "b",    "ab",       "\"", "\":", ", ",  "{", "}", "[",
                               "]",    "1",    "23",       " ",  "\n",  "\\",  "n", "c", ".",
                               "\xC3", "\xA9", "\xE2\x82", "(",  ")",   "u00", "-", "e"};
  std::vector<std::string> tokens;
  for (int i = 0; i < 600; ++i) {
    std::string token;
    for (auto n = 1 + random() % 5; n > 0; --n) token += parts[random() % std::size(parts)];
    tokens.push_back(std::move(token));
  }
  tokens.emplace_back(40, 'a');
  tokens.emplace_back("\"" + std::string(60, 'b'));
  tokens.emplace_back(70, ' ');
  tokens.emplace_back();  // never allowed
  return tokens;
}

}  // namespace

TEST_CASE("masks are what trying each token gives; walks end in texts of the grammar") {
  std::mt19937 random(7);
  std::vector<std::string> tokens = test::byte_tokens(odd_tokens(random));
  const auto stop = static_cast<int32_t>(tokens.size());
  tokens.emplace_back();
  const auto stop_with_text = static_cast<int32_t>('a');
  const auto vocabulary = std::make_shared<const text::TokenVocabulary>(tokens);
  for (const Source& source : kSources) {
    const auto grammar = text::compile_grammar({source.kind, source.text});
    for (int walk = 0; walk < 3; ++walk) {
      const auto matcher = text::make_matcher(grammar, vocabulary, {stop, stop_with_text});
      std::string text;
      for (int step = 0; step < 14; ++step) {
        std::vector<uint64_t> mask((tokens.size() + 63) / 64);
        matcher->allowed(mask);
        std::vector<int32_t> allowed;
        // Text by text, from the beginning.
        const auto check = text::make_matcher(grammar, vocabulary, {});
        REQUIRE(check->try_accept_text(text));
        for (size_t t = 0; t < tokens.size(); ++t) {
          const auto id = static_cast<int32_t>(t);
          if (id == stop || id == stop_with_text) {
            REQUIRE(has_bit(mask, t) == matcher->may_end());
            continue;
          }
          const auto one = text::make_matcher(grammar, vocabulary, {});
          bool is_allowed = !tokens[t].empty();
          if (is_allowed && t >= 256 && t % 7 != static_cast<size_t>(step) % 7) {
            // The slow comparison for a part only; the rest byte by byte on one matcher is the same code.
            if (has_bit(mask, t)) allowed.push_back(id);
            continue;
          }
          is_allowed = is_allowed && one->try_accept_text(text + tokens[t]);
          INFO(source.text, " | ", text, " | ", tokens[t]);
          REQUIRE(has_bit(mask, t) == is_allowed);
          if (is_allowed) allowed.push_back(id);
        }
        if (allowed.empty()) {
          CHECK(matcher->may_end());
          break;
        }
        const int32_t chosen = allowed[random() % allowed.size()];
        text += tokens[static_cast<size_t>(chosen)];
        matcher->accept(chosen);
      }
      CHECK(test::accepts(grammar, text) == matcher->may_end());
    }
  }
}

TEST_CASE("a token that is not allowed changes nothing") {
  const auto grammar = text::compile_grammar({text::GrammarKind::kRegex, "ab"});
  const auto matcher = text::make_matcher(grammar, test::byte_vocabulary(), {'z'});
  CHECK(!matcher->try_accept('b'));
  CHECK_THROWS_AS(matcher->accept('z'), Error);
  matcher->accept('a');
  CHECK(!matcher->is_complete());
  matcher->accept('b');
  CHECK(matcher->is_complete());
  CHECK(!matcher->try_accept('z'));
}

TEST_CASE("an ambiguous grammar is followed, or ends with an error, in bounded time") {
  const auto grammar = text::compile_grammar(
      {text::GrammarKind::kEbnf, "root ::= x x x x x x\nx ::= y+ \"z\"?\ny ::= [a-z] y? | \"a\" x? \"a\"?"});
  const auto matcher = text::make_matcher(grammar, test::byte_vocabulary(), {});
  const auto begin = std::chrono::steady_clock::now();
  try {
    for (int i = 0; i < 300; ++i) {
      std::vector<uint64_t> mask(4);
      matcher->allowed(mask);
      if (!matcher->try_accept('a')) break;
    }
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kResourceExhausted);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  CHECK(took.count() < 20);
}

TEST_CASE("token bytes of every kind of tokenizer are what decoding gives") {
  const std::filesystem::path data = std::filesystem::path(LLMHOST_TEST_DATA) / "tokenizers";
  std::vector<std::filesystem::path> paths{
      data / "stories260K/tokenizer.json", data / "stories260K/tokenizer.model",
      data / "unigram/tokenizer.model", data / "gguf-spm/vocab.gguf", data / "gguf-merges/vocab.gguf"};
  for (const auto& entry : std::filesystem::directory_iterator(data / "conformance"))
    paths.push_back(entry.path() / "tokenizer.json");
  std::mt19937 random(2);
  int n_usable = 0;
  for (const auto& path : paths) {
    if (!std::filesystem::exists(path)) continue;
    const auto tokenizer = text::load_tokenizer(path);
    std::shared_ptr<const text::TokenVocabulary> vocabulary;
    try {
      vocabulary = std::make_shared<const text::TokenVocabulary>(*tokenizer);
    } catch (const Error& error) {
      MESSAGE(path.parent_path().filename().string(), ": ", std::string(error.what()));
      continue;
    }
    ++n_usable;
    const std::string printable = "[ -~\\n\\t\xC2\xA1-\xEF\xBF\xBC]+";
    const auto grammar = text::compile_grammar({text::GrammarKind::kRegex, printable});
    for (int walk = 0; walk < 6; ++walk) {
      const auto matcher = text::make_matcher(grammar, vocabulary, {});
      std::vector<int32_t> ids;
      std::string text;
      for (int step = 0; step < 20; ++step) {
        std::vector<uint64_t> mask(static_cast<size_t>(vocabulary->size() + 63) / 64);
        matcher->allowed(mask);
        std::vector<int32_t> allowed;
        for (int32_t id = 0; id < vocabulary->size(); ++id)
          if (has_bit(mask, static_cast<size_t>(id))) allowed.push_back(id);
        if (allowed.empty()) break;
        const int32_t chosen = allowed[random() % allowed.size()];
        CHECK(!tokenizer->is_special(chosen));
        text += vocabulary->bytes_of(chosen, step == 0);
        ids.push_back(chosen);
        matcher->accept(chosen);
      }
      while (!matcher->may_end() && !ids.empty()) {  // an incomplete character
        ids.pop_back();
        text.clear();
        for (size_t i = 0; i < ids.size(); ++i) text += vocabulary->bytes_of(ids[i], i == 0);
        if (test::accepts(grammar, text)) break;
      }
      INFO(path.string());
      CHECK(tokenizer->decode(ids, {.skip_special = true}) == text);
    }
  }
  CHECK(n_usable > 20);
}

TEST_CASE("the cache of grammars is bounded and keeps what is used") {
  text::GrammarCache cache(200'000);
  for (int i = 0; i < 600; ++i) {
    cache.get({text::GrammarKind::kRegex, "a{" + std::to_string(1 + i % 500) + "}b"});
    cache.get({text::GrammarKind::kRegex, "used"});
    REQUIRE(cache.stats().bytes <= 200'000);
  }
  CHECK(cache.stats().hits >= 599);
  CHECK(cache.stats().evicted > 0);
  CHECK_THROWS_AS(cache.get({text::GrammarKind::kRegex, "("}), Error);
}
