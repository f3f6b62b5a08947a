#include "text/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include "core/error.h"

namespace llmhost::text {

struct SentencePieceModel::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string source;
};

namespace {

std::optional<int32_t> present(int id) {
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

}  // namespace

SentencePieceModel::SentencePieceModel(std::string_view bytes, std::string_view source)
    : impl_(std::make_unique<Impl>()) {
  impl_->source = source;
  const auto status = impl_->processor.LoadFromSerializedProto({bytes.data(), bytes.size()});
  if (!status.ok()) throw_invalid("{}: not a SentencePiece model: {}", source, status.ToString());
}

SentencePieceModel::~SentencePieceModel() = default;

void SentencePieceModel::encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<int> found;
  const auto status = impl_->processor.Encode({text.data(), text.size()}, &found);
  if (!status.ok())
    throw_error(ErrorCode::kInternal, "{}: encoding failed: {}", impl_->source, status.ToString());
  ids.insert(ids.end(), found.begin(), found.end());
}

int32_t SentencePieceModel::size() const {
  return impl_->processor.GetPieceSize();
}

std::string SentencePieceModel::piece(int32_t id) const {
  return impl_->processor.IdToPiece(id);
}

std::optional<int32_t> SentencePieceModel::find(std::string_view piece) const {
  const int id = impl_->processor.PieceToId({piece.data(), piece.size()});
  if (id < 0 || id >= size() || impl_->processor.IdToPiece(id) != piece) return std::nullopt;
  return id;
}

bool SentencePieceModel::is_control(int32_t id) const {
  return impl_->processor.IsControl(id);
}
bool SentencePieceModel::is_unknown(int32_t id) const {
  return impl_->processor.IsUnknown(id);
}
bool SentencePieceModel::is_byte(int32_t id) const {
  return impl_->processor.IsByte(id);
}

std::optional<int32_t> SentencePieceModel::bos() const {
  return present(impl_->processor.bos_id());
}
std::optional<int32_t> SentencePieceModel::eos() const {
  return present(impl_->processor.eos_id());
}
std::optional<int32_t> SentencePieceModel::pad() const {
  return present(impl_->processor.pad_id());
}
std::optional<int32_t> SentencePieceModel::unk() const {
  return present(impl_->processor.unk_id());
}

}  // namespace llmhost::text
