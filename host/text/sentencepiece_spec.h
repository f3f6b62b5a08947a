// The few settings of a SentencePiece .model file that decoding needs and the library does not show: a small
// reader of the file's protocol-buffer encoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::text {

struct SentencePieceSpec {
  std::string unk_surface = " \xE2\x81\x87 ";  // what an unknown token decodes to
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
};

SentencePieceSpec read_sentencepiece_spec(std::string_view bytes, std::string_view source);

// The pieces with what the library keeps to itself.
struct SentencePieceTable {
  enum class Kind : uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::kNormal;
  };
  enum class Model : uint8_t { kUnigram = 1, kBpe, kWord, kCharacter };

  std::vector<Piece> pieces;  // by id
  Model model = Model::kUnigram;
  std::string charsmap;  // how characters are normalised, compiled; empty: not at all
};
SentencePieceTable read_sentencepiece_table(std::string_view bytes, std::string_view source);

}  // namespace llmhost::text
