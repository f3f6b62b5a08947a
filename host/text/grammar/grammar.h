// Structured output: a grammar says what the text may be, a matcher which tokens may come next. Every text
// that a matcher lets end is one of the grammar's; a token is allowed exactly when some text of the grammar
// begins with what was written and the token's bytes. docs/structured-output.md has the languages.
//
// A Grammar, a TokenVocabulary and a GrammarCache may be used from many threads; a Matcher belongs to one
// request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace llmhost::text {

class Tokenizer;

enum class GrammarKind {
  kJsonObject,  // any JSON object; no text
  kJsonSchema,  // text: a JSON schema
  kRegex,       // text: a regular expression that the whole output matches
  kChoices,     // text: a JSON array of strings
  kEbnf,        // text: rules in the GBNF notation
};
std::string_view to_text(GrammarKind kind);  // "json_object", "json_schema", "regex", "choices", "ebnf"

struct GrammarSpec {
  GrammarKind kind = GrammarKind::kJsonObject;
  std::string text;

  bool operator==(const GrammarSpec&) const = default;
};

struct GrammarLimits {
  size_t max_source_bytes = size_t{1} << 20;
  size_t max_states = 200'000;     // of all automata made on the way
  int64_t max_milliseconds = 150;  // of processor time, to compile
};

// A compiled grammar. Constant.
class Grammar {
 public:
  struct Tables;
  explicit Grammar(std::unique_ptr<const Tables> tables);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  const Tables& tables() const { return *tables_; }
  size_t n_states() const;
  size_t n_bytes() const;  // memory

 private:
  std::unique_ptr<const Tables> tables_;
};

// Throws kInvalidArgument for a source that is no grammar or asks for what is not enforced, naming key or
// offset, and kResourceExhausted beyond the limits.
std::shared_ptr<const Grammar> compile_grammar(const GrammarSpec& spec, const GrammarLimits& limits = {});

// Compiled grammars by their source, the longest unused of which goes first when they are too large together.
class GrammarCache {
 public:
  struct Stats {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t evicted = 0;
    size_t entries = 0;
    size_t bytes = 0;
  };

  explicit GrammarCache(size_t max_bytes = size_t{64} << 20, const GrammarLimits& limits = {})
      : max_bytes_(max_bytes), limits_(limits) {}

  // Compiles outside the lock. Errors are not kept.
  std::shared_ptr<const Grammar> get(const GrammarSpec& spec);
  Stats stats() const;

 private:
  struct Entry {
    GrammarSpec spec;
    std::shared_ptr<const Grammar> grammar;
    size_t bytes = 0;
  };

  std::list<Entry>::iterator find(const GrammarSpec& spec, size_t hash);

  mutable std::mutex mutex_;
  size_t max_bytes_;
  GrammarLimits limits_;
  std::list<Entry> entries_;  // the last used first
  std::unordered_multimap<size_t, std::list<Entry>::iterator> by_hash_;
  Stats stats_;
};

// The bytes of a tokenizer's tokens, arranged for masks, and the masks that many states of grammars share.
class TokenVocabulary {
 public:
  struct Parts;

  // Reads every token. Throws kUnimplemented for a tokenizer whose text is not its tokens' bytes one after
  // the other.
  explicit TokenVocabulary(const Tokenizer& tokenizer, size_t max_mask_bytes = size_t{64} << 20);
  // Of tokens given by their bytes; an empty one is never allowed. For tests.
  explicit TokenVocabulary(std::span<const std::string> tokens, size_t max_mask_bytes = size_t{64} << 20);
  ~TokenVocabulary();
  TokenVocabulary(const TokenVocabulary&) = delete;
  TokenVocabulary& operator=(const TokenVocabulary&) = delete;

  int32_t size() const;  // largest token id plus one
  // What the token adds to the text, at its beginning or later; empty for one that is never allowed.
  std::string_view bytes_of(int32_t token, bool is_first) const;
  Parts& parts() const { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

// Where one output stands in its grammar.
class Matcher {
 public:
  virtual ~Matcher() = default;

  // Sets the bits of the tokens that may come next, bit t % 64 of word t / 64, stop tokens where the text may
  // end among them. Tokens beyond the mask are left out.
  virtual void allowed(std::span<uint64_t> mask) = 0;
  // Goes on; throws kFailedPrecondition for a token that was not allowed.
  virtual void accept(int32_t token) = 0;
  // Whether the token was allowed, which it goes on with then.
  virtual bool try_accept(int32_t token) = 0;
  // The same for text, whatever tokens it is made of. All of it or nothing.
  virtual bool try_accept_text(std::string_view bytes) = 0;
  virtual bool may_end() const = 0;
  // Nothing but the end may follow.
  virtual bool is_complete() const = 0;
};

// Throws kResourceExhausted, now or in a step, for a grammar that is too ambiguous to follow.
std::unique_ptr<Matcher> make_matcher(std::shared_ptr<const Grammar> grammar,
                                      std::shared_ptr<const TokenVocabulary> vocabulary,
                                      std::vector<int32_t> stop_tokens);

}  // namespace llmhost::text
