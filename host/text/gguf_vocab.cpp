#include "text/gguf_vocab.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "text/tokenizer_registry.h"

namespace llmhost::text {
namespace {

std::optional<int32_t> token_id(const model::GgufFile& file, std::string_view key, size_t count) {
  const auto id = file.try_i64(key);
  if (!id || *id < 0 || *id == UINT32_MAX) return std::nullopt;  // both ways to say "none" occur
  if (static_cast<uint64_t>(*id) >= count)
    throw_invalid("{}: {} is {}, the vocabulary has {} tokens; the file is damaged", file.name(), key, *id,
                  count);
  return static_cast<int32_t>(*id);
}

void check_length(const model::GgufFile& file, std::string_view key, size_t length, size_t count) {
  if (length < count)
    throw_invalid("{}: {} has {} entries for {} tokens; the file is damaged", file.name(), key, length,
                  count);
}

std::vector<GgufTokenType> read_types(const model::GgufFile& file, size_t count) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  std::vector<GgufTokenType> types(count, GgufTokenType::kNormal);
  const auto array = file.try_array(kKey);
  if (!array) return types;
  check_length(file, kKey, array->size(), count);
  for (size_t i = 0; i < count; ++i) {
    const int64_t type = array->i64_at(i);
    types[i] = type >= 1 && type <= 6 ? static_cast<GgufTokenType>(type) : GgufTokenType::kUndefined;
  }
  return types;
}

std::vector<float> read_scores(const model::GgufFile& file, size_t count) {
  constexpr std::string_view kKey = "tokenizer.ggml.scores";
  std::vector<float> scores(count, 0.0F);
  const auto array = file.try_array(kKey);
  if (!array) return scores;
  check_length(file, kKey, array->size(), count);
  for (size_t i = 0; i < count; ++i) {
    scores[i] = static_cast<float>(array->f64_at(i));
    if (std::isnan(scores[i]))
      throw_invalid("{}: {}[{}] is not a number; the file is damaged", file.name(), kKey, i);
  }
  return scores;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace

GgufVocab read_gguf_vocab(const model::GgufFile& file) {
  GgufVocab vocab;
  vocab.source = file.name();
  vocab.model = file.get_string("tokenizer.ggml.model");
  vocab.pre = file.try_string("tokenizer.ggml.pre").value_or("default");
  vocab.name = lower(file.try_string("general.name").value_or(""));
  const model::GgufArray& tokens = file.get_array("tokenizer.ggml.tokens");
  const size_t count = tokens.size();
  if (count > INT32_MAX / 2) throw_invalid("{}: {} tokens are too many", file.name(), count);
  vocab.pieces.reserve(count, tokens.raw().size());
  int32_t id = 0;
  for (const std::string_view piece : tokens.strings()) vocab.pieces.add(id++, piece);
  vocab.pieces.build_index(file.name());
  vocab.types = read_types(file, count);
  for (const std::string& piece : gguf_control_pieces()) {
    const int32_t control = vocab.pieces.find(piece);
    if (control != Vocab::kNone) vocab.types[static_cast<size_t>(control)] = GgufTokenType::kControl;
  }
  vocab.scores = read_scores(file, count);
  vocab.bos = token_id(file, "tokenizer.ggml.bos_token_id", count);
  vocab.eos = token_id(file, "tokenizer.ggml.eos_token_id", count);
  vocab.eot = token_id(file, "tokenizer.ggml.eot_token_id", count);
  vocab.pad = token_id(file, "tokenizer.ggml.padding_token_id", count);
  vocab.unk = token_id(file, "tokenizer.ggml.unknown_token_id", count);
  vocab.separator = token_id(file, "tokenizer.ggml.seperator_token_id", count);  // the format spells it so
  vocab.add_bos = file.try_bool("tokenizer.ggml.add_bos_token");
  vocab.add_eos = file.try_bool("tokenizer.ggml.add_eos_token");
  vocab.add_separator = file.try_bool("tokenizer.ggml.add_sep_token");
  vocab.add_space_prefix = file.try_bool("tokenizer.ggml.add_space_prefix");
  return vocab;
}

}  // namespace llmhost::text
