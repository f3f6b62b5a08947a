// A tokenizer.json at work: added tokens, normalizer, pre-tokenizer, model, post-processor, decoder.
#pragma once

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_decoder.h"
#include "text/tokenizer_model.h"

namespace llmhost::text {

struct PipelineParts {
  std::unique_ptr<const TokenModel> model;
  AddedTokens added;                 // after build()
  NormalizerPtr normalizer;          // may be null
  PreTokenizerPtr pre_tokenizer;     // may be null
  std::vector<int32_t> prefix_ids;   // what the post-processor puts before a single text
  std::vector<int32_t> suffix_ids;   // and after it
  bool drops_text = false;           // a template without the text itself
  std::vector<DecoderSpec> decoder;  // empty: tokens joined by spaces
};

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(PipelineParts parts);
  using Tokenizer::encode;
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::unique_ptr<Decoding> new_decoding(const DecodeOptions& options) const override;
  int32_t vocab_size() const override { return size_; }
  std::string piece_of(int32_t id) const override;
  std::optional<int32_t> id_of(std::string_view piece) const override;
  bool is_special(int32_t id) const override;
  // What the decoder gets for an id; empty for special tokens when they are skipped. As in the reference, a
  // special token whose normalized form differs from its content is not skipped.
  std::string_view decoder_input(int32_t id, bool skip_special) const;

 private:
  void encode_text(const AddedTokens::Segment& segment, bool parse_special, std::vector<int32_t>& ids) const;
  PipelineParts parts_;
  int32_t size_;
};

}  // namespace llmhost::text
