// The sentencepiece library behind a plain interface: its header clashes with others, so only one file
// includes it. Constant after construction, [thread-safe].
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmhost::text {

class SentencePieceModel {
 public:
  // `bytes` is the content of a .model file; `source` names it in errors.
  SentencePieceModel(std::string_view bytes, std::string_view source);
  ~SentencePieceModel();

  void encode(std::string_view text, std::vector<int32_t>& ids) const;
  int32_t size() const;
  std::string piece(int32_t id) const;  // `id` must be inside the vocabulary
  std::optional<int32_t> find(std::string_view piece) const;
  bool is_control(int32_t id) const;
  bool is_unknown(int32_t id) const;
  bool is_byte(int32_t id) const;
  std::optional<int32_t> bos() const;
  std::optional<int32_t> eos() const;
  std::optional<int32_t> pad() const;
  std::optional<int32_t> unk() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace llmhost::text
