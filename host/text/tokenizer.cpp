#include "text/tokenizer.h"

namespace llmhost::text {

std::string Tokenizer::decode(std::span<const int32_t> ids, const DecodeOptions& options) const {
  const std::unique_ptr<Decoding> decoding = new_decoding(options);
  std::string out;
  for (const int32_t id : ids) decoding->push(id, out);
  decoding->finish(out);
  return out;
}

bool Tokenizer::adds_bos() const {
  if (!special_ids_.bos) return false;
  const std::vector<int32_t> ids = encode("a", {.add_special = true});
  return !ids.empty() && ids.front() == *special_ids_.bos;
}

bool Tokenizer::adds_eos() const {
  if (!special_ids_.eos) return false;
  const std::vector<int32_t> ids = encode("a", {.add_special = true});
  return ids.size() > 1 && ids.back() == *special_ids_.eos;
}

std::string StreamDecoder::push(int32_t id) {
  std::string out;
  decoding_->push(id, out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  decoding_->finish(out);
  return out;
}

}  // namespace llmhost::text
