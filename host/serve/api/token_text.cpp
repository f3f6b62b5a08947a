#include "serve/api/token_text.h"

#include <algorithm>

#include "core/error.h"
#include "engine/text_decoder.h"
#include "text/grammar/grammar.h"
#include "text/tools/tool_format.h"

namespace llmhost::serve {
namespace {

// Leaves out special tokens but a few.
class MarkedDecoder final : public engine::TokenDecoder {
 public:
  MarkedDecoder(const text::Tokenizer& tokenizer, std::vector<int32_t> kept)
      : tokenizer_(tokenizer),
        kept_(std::move(kept)),
        decoding_(tokenizer.new_decoding({.skip_special = false})) {}

  void push(int32_t token, std::string& out) override {
    if (!tokenizer_.is_special(token) || std::binary_search(kept_.begin(), kept_.end(), token))
      decoding_->push(token, out);
  }
  void finish(std::string& out) override { decoding_->finish(out); }

 private:
  const text::Tokenizer& tokenizer_;
  std::vector<int32_t> kept_;
  std::unique_ptr<text::Decoding> decoding_;
};

}  // namespace

TokenNames::TokenNames(const ServedModel& model) : tokenizer_(&model.tokenizer()) {
  try {
    vocabulary_ = model.grammar_vocabulary();
  } catch (const Error&) {
    vocabulary_ = nullptr;
  }
}

std::string TokenNames::bytes(int32_t token) const {
  if (vocabulary_ && token >= 0 && token < vocabulary_->size() && !tokenizer_->is_special(token)) {
    const std::string_view bytes = vocabulary_->bytes_of(token, false);
    if (!bytes.empty()) return std::string(bytes);
  }
  return tokenizer_->decode(std::span(&token, 1));
}

std::unique_ptr<engine::TokenDecoder> make_decoder(const text::Tokenizer& tokenizer,
                                                   const text::ToolFormat* format) {
  std::vector<int32_t> kept;
  if (format != nullptr)
    for (const std::string& mark : format->marks())
      if (const auto id = tokenizer.id_of(mark); id && tokenizer.is_special(*id)) kept.push_back(*id);
  if (kept.empty()) return std::make_unique<engine::TextDecoder>(tokenizer);
  std::sort(kept.begin(), kept.end());
  return std::make_unique<MarkedDecoder>(tokenizer, std::move(kept));
}

}  // namespace llmhost::serve
