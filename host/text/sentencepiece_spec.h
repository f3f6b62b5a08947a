// The few settings of a SentencePiece .model file that decoding needs and the library does not show: a small
// reader of the file's protocol-buffer encoding.
#pragma once

#include <string>
#include <string_view>

namespace llmhost::text {

struct SentencePieceSpec {
  std::string unk_surface = " \xE2\x81\x87 ";  // what an unknown token decodes to
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
};

SentencePieceSpec read_sentencepiece_spec(std::string_view bytes, std::string_view source);

}  // namespace llmhost::text
