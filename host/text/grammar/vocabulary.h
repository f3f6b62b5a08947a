// What a TokenVocabulary holds.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "text/grammar/grammar.h"
#include "text/grammar/tables.h"
#include "text/grammar/token_trie.h"

namespace llmhost::text {
namespace grammar {

// The tokens that a state of a grammar allows, whatever called its rule.
struct StateMask {
  std::vector<uint64_t> bits;   // of many tokens
  std::vector<int32_t> tokens;  // of few
  TokenTrie after;  // tokens that leave the rule, by what is left of them there: the caller decides

  size_t n_bytes() const {
    return sizeof(StateMask) + bits.size() * sizeof(uint64_t) + tokens.size() * sizeof(int32_t) +
           after.n_bytes();
  }
};

// Masks by the fingerprint of the state, of all grammars; the longest unused goes first. [thread-safe]
class MaskCache {
 public:
  using Key = Grammar::Tables::Fingerprint;

  explicit MaskCache(size_t max_bytes) : max_bytes_(max_bytes) {}
  std::shared_ptr<const StateMask> find(const Key& key);
  void insert(const Key& key, std::shared_ptr<const StateMask> mask);

 private:
  struct Entry {
    Key key;
    std::shared_ptr<const StateMask> mask;
  };

  std::mutex mutex_;
  size_t max_bytes_;
  size_t bytes_ = 0;
  std::list<Entry> entries_;  // the last used first
  std::map<Key, std::list<Entry>::iterator> by_key_;
};

// The tokens as they are at one place of the text.
struct TokenTable {
  std::string bytes;
  std::vector<size_t> begins;  // and the end
  TokenTrie short_tokens;      // of up to kFingerprintBytes bytes
  TokenTrie long_tokens;
  MaskCache masks;

  TokenTable(const std::vector<std::string>& tokens, size_t max_mask_bytes);
  std::string_view bytes_of(int32_t token) const;
};

}  // namespace grammar

struct TokenVocabulary::Parts {
  int32_t size = 0;
  std::unique_ptr<grammar::TokenTable> later;
  std::unique_ptr<grammar::TokenTable> first;  // null: as later

  const grammar::TokenTable& table(bool is_first) const {
    return is_first && first != nullptr ? *first : *later;
  }
  grammar::TokenTable& table(bool is_first) { return is_first && first != nullptr ? *first : *later; }
};

namespace grammar {

// The bytes that each token adds to the text; empty where that is not certain, or none.
struct TokenTexts {
  std::vector<std::string> later;
  std::vector<std::string> first;  // at the beginning of the text
};
TokenTexts read_token_texts(const Tokenizer& tokenizer);

}  // namespace grammar
}  // namespace llmhost::text
