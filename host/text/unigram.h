// The unigram language model: the segmentation with the largest sum of piece scores, found by dynamic
// programming.
#pragma once

#include <optional>

#include "text/tokenizer_model.h"

namespace llmhost::text {

class Unigram final : public TokenModel {
 public:
  // `scores` by id. Without an unknown id, text that no piece covers is an error.
  Unigram(Vocab vocab, std::vector<double> scores, std::optional<int32_t> unk, bool byte_fallback);
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;
  const Vocab& vocab() const override { return vocab_; }

 private:
  struct Node {
    double score = 0;
    int64_t start = -1;  // -1: not reached
    int32_t id = Vocab::kNone;
  };
  std::vector<Node> best_paths(std::string_view text) const;
  void extend_from(std::string_view text, size_t start, std::vector<Node>& best) const;
  void append_piece(std::string_view piece, std::vector<int32_t>& ids) const;

  Vocab vocab_;
  std::vector<double> scores_;
  ByteTokens bytes_;
  std::vector<int32_t> sorted_;  // ids by piece: a common-prefix search narrows a range of it byte by byte
  std::optional<int32_t> unk_;
  double unk_score_ = 0;
  bool byte_fallback_;
};

}  // namespace llmhost::text
