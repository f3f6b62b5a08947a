#include "text/tokenizer_pipeline.h"

#include <algorithm>

#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

class PipelineDecoding final : public Decoding {
 public:
  PipelineDecoding(const PipelineTokenizer& tokenizer, const std::vector<DecoderSpec>& specs,
                   bool skip_special)
      : tokenizer_(tokenizer), chain_(specs), skip_special_(skip_special) {}

  void push(int32_t id, std::string& out) override {
    const std::string_view piece = tokenizer_.decoder_input(id, skip_special_);
    if (!piece.empty()) chain_.push(piece, out);
  }
  void finish(std::string& out) override { chain_.finish(out); }

 private:
  const PipelineTokenizer& tokenizer_;
  DecoderChain chain_;
  bool skip_special_;
};

}  // namespace

PipelineTokenizer::PipelineTokenizer(PipelineParts parts)
    : parts_(std::move(parts)), size_(parts_.model->vocab().size()) {
  for (const AddedToken& token : parts_.added.tokens()) size_ = std::max(size_, token.id + 1);
}

void PipelineTokenizer::encode_text(const AddedTokens::Segment& segment, bool parse_special,
                                    std::vector<int32_t>& ids) const {
  std::string normalized;
  std::string_view text = segment.text;
  if (parts_.normalizer) {
    normalized = parts_.normalizer->apply(text);
    text = normalized;
  }
  for (const AddedTokens::Segment& part : parts_.added.split(text, true, parse_special)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    Pieces pieces(std::string(part.text), segment.at_start && part.at_start);
    if (parts_.pre_tokenizer) parts_.pre_tokenizer->apply(pieces);
    for (const Pieces::Range& range : pieces.ranges) parts_.model->tokenize(pieces.piece(range), ids);
  }
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  std::vector<int32_t> ids;
  if (options.add_special) ids = parts_.prefix_ids;
  if (!parts_.drops_text) {
    for (const AddedTokens::Segment& segment : parts_.added.split(text, false, options.parse_special)) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
      } else {
        encode_text(segment, options.parse_special, ids);
      }
    }
  }
  if (options.add_special) ids.insert(ids.end(), parts_.suffix_ids.begin(), parts_.suffix_ids.end());
  return ids;
}

std::unique_ptr<Decoding> PipelineTokenizer::new_decoding(const DecodeOptions& options) const {
  return std::make_unique<PipelineDecoding>(*this, parts_.decoder, options.skip_special);
}

std::string PipelineTokenizer::piece_of(int32_t id) const {
  if (const AddedToken* token = parts_.added.find(id)) return token->content;
  return std::string(parts_.model->vocab().piece(id));
}

std::optional<int32_t> PipelineTokenizer::id_of(std::string_view piece) const {
  if (const AddedToken* token = parts_.added.find(piece)) return token->id;
  const int32_t id = parts_.model->vocab().find(piece);
  return id == Vocab::kNone ? std::nullopt : std::optional(id);
}

std::string_view PipelineTokenizer::decoder_input(int32_t id, bool skip_special) const {
  const AddedToken* token = parts_.added.find(id);
  if (token == nullptr) return parts_.model->vocab().piece(id);
  if (skip_special && token->special && token->decoded == token->content) return {};
  return token->decoded;
}

bool PipelineTokenizer::is_special(int32_t id) const {
  const AddedToken* token = parts_.added.find(id);
  return token != nullptr && token->special;
}

}  // namespace llmhost::text
