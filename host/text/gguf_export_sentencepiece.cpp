#include "text/gguf_export_sentencepiece.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "text/sentencepiece_spec.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_registry.h"

namespace llmhost::text {
namespace {

namespace fs = std::filesystem;
using Kind = SentencePieceTable::Kind;

constexpr float kNeverChosen = -10000;  // as llama.cpp's converter scores pieces that no model has

GgufTokenType type_of(Kind kind) {
  switch (kind) {
    case Kind::kUnknown:
      return GgufTokenType::kUnknown;
    case Kind::kControl:
      return GgufTokenType::kControl;
    case Kind::kUserDefined:
      return GgufTokenType::kUserDefined;
    case Kind::kUnused:
      return GgufTokenType::kUnused;
    case Kind::kByte:
      return GgufTokenType::kByte;
    case Kind::kNormal:
      break;
  }
  return GgufTokenType::kNormal;
}

void put(GgufTokenizer& out, size_t id, const std::string& piece, float score, GgufTokenType type) {
  while (out.pieces.size() <= id) {
    out.pieces.push_back(fmt::format("[PAD{}]", out.pieces.size()));
    out.scores.push_back(kNeverChosen);
    out.types.push_back(GgufTokenType::kUnused);
  }
  out.pieces[id] = piece;
  out.scores[id] = score;
  out.types[id] = type;
}

void put_pieces(const SentencePieceTable& table, const TokenizerConfig& config, size_t rows,
                GgufTokenizer& out) {
  for (size_t id = 0; id < table.pieces.size(); ++id) {
    const SentencePieceTable::Piece& piece = table.pieces[id];
    put(out, id, piece.text, piece.score, type_of(piece.kind));
  }
  for (const AddedToken& token : config.added) {
    const auto id = static_cast<size_t>(token.id);
    if (rows > 0 && id >= rows) continue;
    const bool is_unknown = id < table.pieces.size() && table.pieces[id].kind == Kind::kUnknown;
    put(out, id, token.content, id < table.pieces.size() ? table.pieces[id].score : kNeverChosen,
        is_unknown      ? GgufTokenType::kUnknown
        : token.special ? GgufTokenType::kControl
                        : GgufTokenType::kUserDefined);
  }
  while (out.pieces.size() < rows)
    put(out, out.pieces.size(), fmt::format("[PAD{}]", out.pieces.size()), kNeverChosen,
        GgufTokenType::kUnused);
}

void choose_form(const SentencePieceTable& table, const SentencePieceSpec& spec, const fs::path& file,
                 GgufTokenizer& out) {
  out.pre = "default";
  out.add_space_prefix = spec.add_dummy_prefix;
  if (table.model == SentencePieceTable::Model::kBpe) {
    out.model = "llama";
    return;
  }
  if (table.model != SentencePieceTable::Model::kUnigram)
    throw_error(ErrorCode::kUnimplemented,
                "{}: its model cuts words or characters; merged pairs (BPE) and pieces with probabilities "
                "(Unigram) are what GGUF files hold",
                file.string());
  out.model = "t5";
  out.charsmap = table.charsmap;
  out.merges_spaces = spec.remove_extra_whitespaces;
}

}  // namespace

GgufTokenizer gguf_from_sentencepiece(const fs::path& file, int64_t rows) {
  const std::string bytes = read_file(file);
  if (looks_like_rank_file(bytes))
    throw_error(ErrorCode::kUnimplemented,
                "{}: a list of ranks, which GGUF files have no form for; the tokenizer.json of the model is "
                "needed (--no-tokenizer leaves the tokenizer out)",
                file.string());
  const SentencePieceTable table = read_sentencepiece_table(bytes, file.string());
  if (rows > 0 && table.pieces.size() > static_cast<size_t>(rows))
    throw_invalid("{}: {} tokens, but the model's embedding has {} rows", file.string(), table.pieces.size(),
                  rows);
  const TokenizerConfig config = read_tokenizer_config(file.parent_path());
  const SentencePieceSpec spec = read_sentencepiece_spec(bytes, file.string());
  const auto original = load_tokenizer(file.parent_path());
  GgufTokenizer out;
  choose_form(table, spec, file, out);
  put_pieces(table, config, static_cast<size_t>(std::max<int64_t>(rows, 0)), out);
  out.special = original->special_ids();
  out.add_bos = original->adds_bos();
  out.add_eos = original->adds_eos();
  // The library reads no special tokens in a text, but for those that the folder adds.
  out.same_after_special = !config.added.empty();
  out.probes = tokenizer_probes();
  const std::vector<std::string> differing = differing_when_written(*original, out);
  if (too_many(differing))
    throw_error(ErrorCode::kUnimplemented,
                "{}: GGUF files have no form that cuts text like it; --no-tokenizer leaves it out",
                file.string());
  for (const std::string& text : differing)
    out.notes.push_back(fmt::format("text such as {} is cut differently", Json(text).dump()));
  std::erase_if(out.probes, [&](const std::string& text) {
    return std::find(differing.begin(), differing.end(), text) != differing.end();
  });
  return out;
}

}  // namespace llmhost::text
