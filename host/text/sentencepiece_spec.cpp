#include "text/sentencepiece_spec.h"

#include <cstdint>
#include <cstring>

#include "core/error.h"

namespace llmhost::text {
namespace {

// Field numbers of sentencepiece_model.proto.
constexpr uint64_t kPieces = 1;
constexpr uint64_t kTrainerSpec = 2;
constexpr uint64_t kNormalizerSpec = 3;
constexpr uint64_t kUnkSurface = 44;
constexpr uint64_t kAddDummyPrefix = 3;
constexpr uint64_t kRemoveExtraWhitespaces = 4;
constexpr uint64_t kModelType = 3;
constexpr uint64_t kCharsmap = 2;
constexpr uint64_t kPieceText = 1;
constexpr uint64_t kPieceScore = 2;
constexpr uint64_t kPieceKind = 3;

class WireReader {
 public:
  WireReader(std::string_view bytes, std::string_view source) : bytes_(bytes), source_(source) {}

  struct Field {
    uint64_t number = 0;
    uint64_t value = 0;        // of a varint field
    std::string_view content;  // of any other field
  };

  bool next(Field& field) {
    if (at_ >= bytes_.size()) return false;
    const uint64_t tag = varint();
    field = {tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.content = take(8);
        break;
      case 2:
        field.content = take(varint());
        break;
      case 5:
        field.content = take(4);
        break;
      default:
        fail();
    }
    return true;
  }

 private:
  [[noreturn]] void fail() const {
    throw_invalid("{}: not a SentencePiece model: damaged at byte {} of a message", source_, at_);
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= bytes_.size()) fail();
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    fail();
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) fail();
    const std::string_view content = bytes_.substr(at_, size);
    at_ += size;
    return content;
  }

  std::string_view bytes_;
  std::string_view source_;
  size_t at_ = 0;
};

SentencePieceTable::Piece read_piece(std::string_view bytes, std::string_view source) {
  SentencePieceTable::Piece piece;
  WireReader reader(bytes, source);
  for (WireReader::Field field; reader.next(field);) {
    if (field.number == kPieceText) piece.text = field.content;
    if (field.number == kPieceScore && field.content.size() == sizeof(float))
      std::memcpy(&piece.score, field.content.data(), sizeof(float));
    if (field.number == kPieceKind) {
      if (field.value < 1 || field.value > static_cast<uint64_t>(SentencePieceTable::Kind::kByte))
        throw_invalid("{}: not a SentencePiece model: piece '{}' is of kind {}", source, piece.text,
                      field.value);
      piece.kind = static_cast<SentencePieceTable::Kind>(field.value);
    }
  }
  return piece;
}

}  // namespace

SentencePieceSpec read_sentencepiece_spec(std::string_view bytes, std::string_view source) {
  SentencePieceSpec spec;
  WireReader model(bytes, source);
  for (WireReader::Field part; model.next(part);) {
    if (part.number != kTrainerSpec && part.number != kNormalizerSpec) continue;
    WireReader reader(part.content, source);
    for (WireReader::Field field; reader.next(field);) {
      if (part.number == kTrainerSpec) {
        if (field.number == kUnkSurface) spec.unk_surface = field.content;
      } else if (field.number == kAddDummyPrefix) {
        spec.add_dummy_prefix = field.value != 0;
      } else if (field.number == kRemoveExtraWhitespaces) {
        spec.remove_extra_whitespaces = field.value != 0;
      }
    }
  }
  return spec;
}

SentencePieceTable read_sentencepiece_table(std::string_view bytes, std::string_view source) {
  SentencePieceTable table;
  WireReader model(bytes, source);
  for (WireReader::Field part; model.next(part);) {
    if (part.number == kPieces) table.pieces.push_back(read_piece(part.content, source));
    if (part.number != kTrainerSpec && part.number != kNormalizerSpec) continue;
    WireReader reader(part.content, source);
    for (WireReader::Field field; reader.next(field);) {
      if (part.number == kNormalizerSpec && field.number == kCharsmap) table.charsmap = field.content;
      if (part.number != kTrainerSpec || field.number != kModelType) continue;
      if (field.value < 1 || field.value > static_cast<uint64_t>(SentencePieceTable::Model::kCharacter))
        throw_invalid("{}: not a SentencePiece model: model type {}", source, field.value);
      table.model = static_cast<SentencePieceTable::Model>(field.value);
    }
  }
  return table;
}

}  // namespace llmhost::text
