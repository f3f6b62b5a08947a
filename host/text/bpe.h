// Byte-pair encodings: by a list of merges (tokenizer.json, GGUF "gpt2"), by the rank of the joined bytes
// (tiktoken), and by the score of the joined piece (SentencePiece BPE as GGUF stores it).
#pragma once

#include <optional>
#include <span>

#include "text/bpe_merge.h"
#include "text/tokenizer_model.h"

namespace llmhost::text {

// (left id, right id) -> rank and id of the merged token; open addressing.
class MergeTable {
 public:
  void reserve(size_t merges);
  // A pair given twice keeps the later merge.
  void add(int32_t left, int32_t right, BpeMerge merge);
  BpeMerge find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    BpeMerge merge;
  };
  void grow(size_t slots);
  std::vector<Slot> slots_;
  size_t used_ = 0;
};

struct BpeConfig {
  std::string unk_token;  // empty: characters without a token are dropped
  std::string continuing_prefix;
  std::string word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a piece that is a token as a whole is not merged up
};

class MergeBpe final : public TokenModel {
 public:
  MergeBpe(Vocab vocab, MergeTable merges, BpeConfig config);
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  std::vector<BpeSymbol> symbols_of(std::string_view word) const;
  Vocab vocab_;
  MergeTable merges_;
  BpeConfig config_;
  ByteTokens bytes_;
  int32_t unk_id_;
};

class RankBpe final : public TokenModel {
 public:
  explicit RankBpe(Vocab vocab) : vocab_(std::move(vocab)) {}
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  Vocab vocab_;
};

class ScoreBpe final : public TokenModel {
 public:
  // `scores` by id, one for each id of the vocabulary.
  ScoreBpe(Vocab vocab, std::vector<float> scores, std::optional<int32_t> unk);
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  Vocab vocab_;
  std::vector<float> scores_;
  ByteTokens bytes_;
  std::optional<int32_t> unk_;
};

}  // namespace llmhost::text
