// WordPiece (greedy longest match) and WordLevel (whole words).
#pragma once

#include "text/tokenizer_model.h"

namespace llmhost::text {

class WordPiece final : public TokenModel {
 public:
  WordPiece(Vocab vocab, std::string_view unk_token, std::string continuing_prefix, size_t max_characters);
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  bool match_word(std::string_view word, std::vector<int32_t>& ids) const;
  Vocab vocab_;
  int32_t unk_;
  std::string prefix_;
  size_t max_characters_;
};

class WordLevel final : public TokenModel {
 public:
  WordLevel(Vocab vocab, std::string_view unk_token);
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  Vocab vocab_;
  int32_t unk_;
};

}  // namespace llmhost::text
