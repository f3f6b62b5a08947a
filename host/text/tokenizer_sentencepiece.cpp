// A SentencePiece .model file: the library encodes; decoding is ours, so that it can go token by token.
#include <algorithm>

#include "text/normalizer.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_spec.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

constexpr std::string_view kSpaceSymbol = "\u2581";

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string_view bytes, std::string_view source, const TokenizerConfig& config)
      : model_(bytes, source), spec_(read_sentencepiece_spec(bytes, source)) {
    for (const AddedToken& token : config.added) added_.add(token);
    added_.build([](const std::string& text) { return text; });
    add_bos_ = config.add_bos.value_or(true);
    add_eos_ = config.add_eos.value_or(false);
    size_ = model_.size();
    for (const AddedToken& token : added_.tokens()) size_ = std::max(size_, token.id + 1);
    SpecialIds ids;
    ids.bos = model_.bos();
    ids.eos = model_.eos();
    ids.pad = model_.pad();
    ids.unk = model_.unk();
    set_special_ids(ids);
  }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_special && add_bos_ && model_.bos()) ids.push_back(*model_.bos());
    for (const AddedTokens::Segment& segment : added_.split(text, false, options.parse_special)) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
      } else {
        model_.encode(segment.text, ids);
      }
    }
    if (options.add_special && add_eos_ && model_.eos()) ids.push_back(*model_.eos());
    return ids;
  }

  std::unique_ptr<Decoding> new_decoding(const DecodeOptions& options) const override;
  int32_t vocab_size() const override { return size_; }
  std::string piece_of(int32_t id) const override {
    if (const AddedToken* token = added_.find(id)) return token->content;
    return id >= 0 && id < model_.size() ? model_.piece(id) : std::string();
  }
  std::optional<int32_t> id_of(std::string_view piece) const override {
    if (const AddedToken* token = added_.find(piece)) return token->id;
    return model_.find(piece);
  }
  bool is_special(int32_t id) const override {
    if (const AddedToken* token = added_.find(id)) return token->special;
    return id >= 0 && id < model_.size() && model_.is_control(id);
  }

  const SentencePieceModel& model() const { return model_; }
  const SentencePieceSpec& spec() const { return spec_; }
  const AddedTokens& added() const { return added_; }

 private:
  SentencePieceModel model_;
  SentencePieceSpec spec_;
  AddedTokens added_;
  bool add_bos_ = true;
  bool add_eos_ = false;
  int32_t size_ = 0;
};

// The first piece loses one space symbol when the model adds a dummy prefix, every leading one when it
// removes extra white space. Byte pieces join to characters; a byte that belongs to none is U+FFFD.
class SentencePieceDecoding final : public Decoding {
 public:
  SentencePieceDecoding(const SentencePieceTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  void push(int32_t id, std::string& out) override {
    const SentencePieceModel& model = tokenizer_.model();
    if (const AddedToken* token = tokenizer_.added().find(id)) {
      if (token->special && skip_special_) return;
      flush_bytes(out, true);
      emit(token->content, out);
      return;
    }
    if (id < 0 || id >= model.size()) return;
    const std::string piece = model.piece(id);
    if (model.is_byte(id)) {
      bytes_ += static_cast<char>(std::max(byte_of_piece(piece), 0));
      flush_bytes(out, false);
      return;
    }
    flush_bytes(out, true);
    if (space_seen_ || any_text_) at_start_ = false;
    space_seen_ = false;
    if (model.is_control(id)) return;
    if (model.is_unknown(id)) {
      emit(tokenizer_.spec().unk_surface, out);
    } else {
      emit(plain_text(piece), out);
    }
  }

  void finish(std::string& out) override { flush_bytes(out, true); }

 private:
  void emit(std::string_view text, std::string& out) {
    any_text_ = any_text_ || !text.empty();
    out += text;
  }

  std::string plain_text(std::string_view piece) {
    const SentencePieceSpec& spec = tokenizer_.spec();
    if (at_start_ && (spec.add_dummy_prefix || spec.remove_extra_whitespaces) &&
        piece.starts_with(kSpaceSymbol)) {
      piece.remove_prefix(kSpaceSymbol.size());
      space_seen_ = !spec.remove_extra_whitespaces;
    }
    return replace_all(piece, kSpaceSymbol, " ");
  }

  // Writes the complete characters at the front; what may still become one stays unless `all`.
  void flush_bytes(std::string& out, bool all) {
    size_t done = 0;
    std::string text;
    while (done < bytes_.size()) {
      const Utf8Char c = utf8_at(bytes_, done);
      if (c.incomplete && !all) break;
      if (c.valid) {
        text.append(bytes_, done, c.length);
        done += c.length;
      } else {
        append_utf8(text, 0xFFFD);
        ++done;
      }
    }
    bytes_.erase(0, done);
    emit(text, out);
  }

  const SentencePieceTokenizer& tokenizer_;
  bool skip_special_;
  bool at_start_ = true;
  bool space_seen_ = false;
  bool any_text_ = false;
  std::string bytes_;
};

std::unique_ptr<Decoding> SentencePieceTokenizer::new_decoding(const DecodeOptions& options) const {
  return std::make_unique<SentencePieceDecoding>(*this, options.skip_special);
}

}  // namespace

std::shared_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string_view bytes, std::string_view source,
                                                        const TokenizerConfig& config) {
  return std::make_shared<SentencePieceTokenizer>(bytes, source, config);
}

}  // namespace llmhost::text
