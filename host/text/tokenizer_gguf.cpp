// The vocabularies of GGUF files: pieces merged by score (the SentencePiece form) or by a list of merges, or
// chosen by their probabilities. Which patterns cut the text first is data: registry/tokenizers/gguf.yaml.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/clean_spaces.h"
#include "text/gguf_vocab.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_registry.h"
#include "text/unigram.h"
#include "text/utf8_runs.h"

namespace llmhost::text {
namespace {

constexpr std::string_view kSpaceSymbol = "\u2581";

// How a vocabulary treats text around its model.
struct GgufRules {
  bool space_prefix = false;   // a space is put before the text, and one dropped when decoding
  bool escape_spaces = false;  // spaces are written as U+2581
  bool byte_level = false;     // pieces are written in the byte-level alphabet
  bool clean_spaces = false;
  // Of pieces with probabilities: the text is normalised first, and every stretch gets the space.
  bool normalises = false;
  bool merges_spaces = false;                            // drops those at the ends and keeps one of several
  std::shared_ptr<const Normalizer> charsmap = nullptr;  // may be null
  std::vector<int32_t> prefix, suffix;                   // added by add_special
};

class GgufTokenizer final : public Tokenizer {
 public:
  GgufTokenizer(std::unique_ptr<const TokenModel> model, std::vector<GgufTokenType> types,
                PreTokenizerPtr patterns, GgufRules rules, const GgufStrip& strip)
      : model_(std::move(model)),
        types_(std::move(types)),
        patterns_(std::move(patterns)),
        rules_(std::move(rules)) {
    build_special(strip);
  }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::unique_ptr<Decoding> new_decoding(const DecodeOptions& options) const override;
  int32_t vocab_size() const override { return model_->vocab().size(); }
  std::string piece_of(int32_t id) const override { return std::string(model_->vocab().piece(id)); }
  std::optional<int32_t> id_of(std::string_view piece) const override {
    const int32_t id = model_->vocab().find(piece);
    return id == Vocab::kNone ? std::nullopt : std::optional(id);
  }
  bool is_special(int32_t id) const override {
    const GgufTokenType type = type_of(id);
    return type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
  }
  GgufTokenType type_of(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < types_.size() ? types_[static_cast<size_t>(id)]
                                                              : GgufTokenType::kUndefined;
  }
  std::string_view piece_view(int32_t id) const { return model_->vocab().piece(id); }
  const GgufRules& rules() const { return rules_; }

 private:
  void build_special(const GgufStrip& strip);
  void encode_text(std::string_view text, bool after_special, std::vector<int32_t>& ids) const;
  void encode_valid(std::string_view text, std::vector<int32_t>& ids) const;
  std::string normalised(std::string_view text) const;

  std::unique_ptr<const TokenModel> model_;
  std::vector<GgufTokenType> types_;
  PreTokenizerPtr patterns_;  // null: the text is one piece
  GgufRules rules_;
  AddedTokens all_special_;   // control, unknown and user-defined tokens
  AddedTokens user_defined_;  // found in any text
};

void GgufTokenizer::build_special(const GgufStrip& strip) {
  const auto among = [](const std::vector<std::string>& list, std::string_view text) {
    return std::find(list.begin(), list.end(), text) != list.end();
  };
  for (int32_t id = 0; id < vocab_size(); ++id) {
    const std::string_view content = model_->vocab().piece(id);
    const bool user = type_of(id) == GgufTokenType::kUserDefined;
    const bool right = among(strip.right, content);
    if (content.empty() || (!user && !is_special(id) && !right)) continue;
    AddedToken token{.content = std::string(content), .id = id, .special = !user};
    token.rstrip = (strip.right_of_all || right) && !among(strip.never_right, content);
    token.lstrip = among(strip.left, content);
    if (user) user_defined_.add(token);
    if (user || is_special(id)) all_special_.add(std::move(token));
  }
  const auto unchanged = [](const std::string& text) { return text; };
  all_special_.build(unchanged);
  user_defined_.build(unchanged);
}

std::vector<int32_t> GgufTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  if (options.add_special) ids = rules_.prefix;
  bool after_special = true;
  const AddedTokens& special = options.parse_special ? all_special_ : user_defined_;
  for (const AddedTokens::Segment& segment : special.split(text, false, true)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      encode_text(segment.text, after_special, ids);
    }
    after_special = segment.id >= 0;
  }
  if (options.add_special) ids.insert(ids.end(), rules_.suffix.begin(), rules_.suffix.end());
  return ids;
}

void GgufTokenizer::encode_text(std::string_view text, bool after_special, std::vector<int32_t>& ids) const {
  std::string plain, escaped;
  if (rules_.normalises) {
    plain = normalised(text);
    if (plain.empty()) return;
    text = plain;
  }
  if (rules_.escape_spaces) {
    if (rules_.space_prefix && (after_special || rules_.normalises)) escaped = kSpaceSymbol;
    escaped += replace_all(text, " ", kSpaceSymbol);
    text = escaped;
  }
  if (!patterns_) {
    model_->tokenize(text, ids);
    return;
  }
  for_each_utf8_run(
      text, [&](std::string_view run) { encode_valid(run, ids); },
      [&](std::string_view bytes) {
        model_->tokenize(rules_.byte_level ? bytes_to_characters(bytes) : std::string(bytes), ids);
      });
}

std::string GgufTokenizer::normalised(std::string_view text) const {
  std::string mapped;
  for_each_utf8_run(
      text,
      [&](std::string_view run) {
        mapped += rules_.charsmap ? rules_.charsmap->apply(run) : std::string(run);
      },
      [&](std::string_view) { append_utf8(mapped, 0xFFFD); });
  if (!rules_.merges_spaces) return mapped;
  std::string merged;
  for (const char c : mapped)
    if (c != ' ' || (!merged.empty() && merged.back() != ' ')) merged += c;
  if (!merged.empty() && merged.back() == ' ') merged.pop_back();
  return merged;
}

void GgufTokenizer::encode_valid(std::string_view text, std::vector<int32_t>& ids) const {
  Pieces pieces(std::string(text), true);
  patterns_->apply(pieces);
  std::string mapped;
  for (const Pieces::Range& range : pieces.ranges) {
    std::string_view piece = pieces.piece(range);
    if (rules_.byte_level) {
      mapped.clear();
      append_bytes_as_characters(piece, mapped);
      piece = mapped;
    }
    model_->tokenize(piece, ids);
  }
}

class GgufDecoding final : public Decoding {
 public:
  GgufDecoding(const GgufTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special), strip_space_(tokenizer.rules().space_prefix) {}

  void push(int32_t id, std::string& out) override {
    if (skip_special_ && tokenizer_.is_special(id)) return;
    std::string text = text_of(id);
    if (strip_space_ && text.starts_with(' ')) text.erase(0, 1);
    strip_space_ = false;
    std::string repaired;
    bytes_.push(text, repaired);
    emit(repaired, out);
  }

  void finish(std::string& out) override {
    std::string rest;
    bytes_.finish(rest);
    emit(rest, out);
    if (tokenizer_.rules().clean_spaces) clean_.finish(out);
  }

 private:
  std::string text_of(int32_t id) const {
    const std::string_view piece = tokenizer_.piece_view(id);
    switch (tokenizer_.type_of(id)) {
      case GgufTokenType::kControl:
      case GgufTokenType::kUnknown:
      case GgufTokenType::kUserDefined:
        return std::string(piece);
      case GgufTokenType::kByte: {
        const int byte = byte_of_piece(piece);
        return byte < 0 ? std::string() : std::string(1, static_cast<char>(byte));
      }
      case GgufTokenType::kNormal:
        break;
      case GgufTokenType::kUndefined:
      case GgufTokenType::kUnused:
        return {};
    }
    if (!tokenizer_.rules().byte_level) return replace_all(piece, kSpaceSymbol, " ");
    std::string bytes;
    if (!append_characters_as_bytes(piece, bytes)) bytes = piece;
    return bytes;
  }

  void emit(std::string_view text, std::string& out) {
    if (tokenizer_.rules().clean_spaces) {
      clean_.push(text, out);
    } else {
      out += text;
    }
  }

  const GgufTokenizer& tokenizer_;
  bool skip_special_;
  bool strip_space_;
  Utf8Assembler bytes_;
  CleanSpaces clean_;
};

std::unique_ptr<Decoding> GgufTokenizer::new_decoding(const DecodeOptions& options) const {
  return std::make_unique<GgufDecoding>(*this, options.skip_special);
}

void add_ends(const GgufVocab& vocab, bool bos_by_default, bool separator_by_default, GgufRules& rules) {
  if (vocab.add_bos.value_or(bos_by_default) && vocab.bos) rules.prefix.push_back(*vocab.bos);
  if (vocab.add_eos.value_or(false) && vocab.eos) rules.suffix.push_back(*vocab.eos);
  if (vocab.add_separator.value_or(separator_by_default)) {
    if (const auto id = vocab.separator ? vocab.separator : vocab.eos) rules.suffix.push_back(*id);
  }
}

// "left right"; a merge whose pieces the vocabulary lacks can never happen.
MergeTable read_merges(const model::GgufFile& file, const Vocab& vocab) {
  const model::GgufArray& array = file.get_array("tokenizer.ggml.merges");
  MergeTable table;
  table.reserve(array.size());
  uint32_t rank = 0;
  std::string joined;
  for (const std::string_view merge : array.strings()) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos)
      throw_invalid("{}: tokenizer.ggml.merges[{}]: two pieces with a space between were expected",
                    file.name(), rank);
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    joined.assign(left).append(right);
    const int32_t a = vocab.find(left);
    const int32_t b = vocab.find(right);
    const int32_t c = vocab.find(joined);
    if (a >= 0 && b >= 0 && c >= 0) table.add(a, b, {rank, c});
    ++rank;
  }
  return table;
}

GgufPreset preset_of(const GgufVocab& vocab) {
  if (auto preset = find_gguf_preset(vocab.pre)) return std::move(*preset);
  throw_error(ErrorCode::kUnimplemented,
              "{}: tokenizer.ggml.pre '{}' is not known; add its patterns to registry/tokenizers/gguf.yaml "
              "and build again "
              "(known: {})",
              vocab.source, vocab.pre, fmt::join(gguf_preset_ids(), ", "));
}

std::shared_ptr<Tokenizer> make_scored(GgufVocab vocab) {
  GgufRules rules;
  rules.space_prefix = vocab.add_space_prefix.value_or(true);
  rules.escape_spaces = true;
  add_ends(vocab, true, false, rules);
  auto model = std::make_unique<ScoreBpe>(std::move(vocab.pieces), std::move(vocab.scores), vocab.unk);
  return std::make_shared<GgufTokenizer>(std::move(model), std::move(vocab.types), nullptr, std::move(rules),
                                         find_gguf_strip(vocab.pre, vocab.name));
}

// Pieces that stand for text have their scores; others are never what a text is cut into.
std::shared_ptr<Tokenizer> make_unigram(const model::GgufFile& file, GgufVocab vocab) {
  constexpr double kNever = -1e6;
  GgufRules rules;
  rules.normalises = rules.escape_spaces = true;
  rules.space_prefix = vocab.add_space_prefix.value_or(false);
  rules.merges_spaces = file.try_bool("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
  if (const auto map = file.try_array("tokenizer.ggml.precompiled_charsmap"); map && !map->empty()) {
    const auto bytes = map->raw();
    rules.charsmap = make_charsmap_normalizer({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                              file.name() + ": tokenizer.ggml.precompiled_charsmap");
  }
  if (!vocab.add_eos) vocab.add_eos = true;
  add_ends(vocab, false, false, rules);
  std::vector<double> scores(vocab.scores.begin(), vocab.scores.end());
  for (size_t id = 0; id < scores.size(); ++id) {
    const GgufTokenType type = vocab.types[id];
    const bool is_text = type == GgufTokenType::kNormal || type == GgufTokenType::kUserDefined;
    if (!is_text || !std::isfinite(scores[id])) scores[id] = kNever;
  }
  const bool has_bytes = vocab.pieces.find("<0x00>") != Vocab::kNone;
  auto model = std::make_unique<Unigram>(std::move(vocab.pieces), std::move(scores), vocab.unk, has_bytes);
  return std::make_shared<GgufTokenizer>(std::move(model), std::move(vocab.types), nullptr, std::move(rules),
                                         find_gguf_strip(vocab.pre, vocab.name));
}

std::shared_ptr<Tokenizer> make_merged(const model::GgufFile& file, GgufVocab vocab) {
  const GgufPreset preset = preset_of(vocab);
  std::vector<PreTokenizerPtr> patterns;
  for (size_t i = 0; i < preset.patterns.size(); ++i) {
    const std::string where =
        fmt::format("registry/tokenizers/gguf.yaml: preset '{}', pattern {}", vocab.pre, i);
    patterns.push_back(make_regex_split(Regex(preset.patterns[i], RegexFlavor::kPerl, where),
                                        SplitBehavior::kIsolated, false));
  }
  GgufRules rules;
  rules.byte_level = preset.byte_level;
  rules.escape_spaces = preset.escape_spaces;
  rules.clean_spaces = preset.clean_spaces;
  rules.space_prefix = vocab.add_space_prefix.value_or(false) && preset.escape_spaces;
  if (preset.no_bos) vocab.bos.reset();
  add_ends(vocab, preset.add_bos, preset.add_sep, rules);
  BpeConfig config;
  config.ignore_merges = preset.ignore_merges;
  config.byte_fallback = !preset.byte_level;
  MergeTable merges = read_merges(file, vocab.pieces);
  auto model = std::make_unique<MergeBpe>(std::move(vocab.pieces), std::move(merges), std::move(config));
  return std::make_shared<GgufTokenizer>(std::move(model), std::move(vocab.types),
                                         make_pre_tokenizer_sequence(std::move(patterns)), std::move(rules),
                                         find_gguf_strip(vocab.pre, vocab.name));
}

}  // namespace

std::shared_ptr<Tokenizer> make_gguf_tokenizer(const std::filesystem::path& path) {
  const model::GgufFile file = model::GgufFile::open(path);
  GgufVocab vocab = read_gguf_vocab(file);
  const std::string kind = gguf_model_kind(vocab.model);
  if (kind.empty())
    throw_error(ErrorCode::kUnimplemented,
                "{}: tokenizer.ggml.model '{}' is not supported; use the tokenizer.json of the model instead",
                path.string(), vocab.model);
  const SpecialIds ids{vocab.bos, vocab.eos, vocab.eot, vocab.pad, vocab.unk, {}};
  auto tokenizer = kind == "scores"          ? make_scored(std::move(vocab))
                   : kind == "probabilities" ? make_unigram(file, std::move(vocab))
                                             : make_merged(file, std::move(vocab));
  tokenizer->set_special_ids(ids);
  return tokenizer;
}

}  // namespace llmhost::text
