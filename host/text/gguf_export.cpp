#include "text/gguf_export.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "text/base64.h"
#include "text/gguf_export_sentencepiece.h"
#include "text/gguf_patterns.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_json_parts.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_registry.h"

namespace llmhost::text {
namespace {

namespace fs = std::filesystem;

// The one of this type in a (nested) part; null when there is none.
const Json* find_type(const Json& part, std::string_view type) {
  if (part.is_object() && part.value("type", "") == type) return &part;
  if (!part.is_structured()) return nullptr;
  for (const Json& inner : part)
    if (const Json* found = find_type(inner, type)) return found;
  return nullptr;
}

bool has_type(const Json& part, std::string_view type) {
  return find_type(part, type) != nullptr;
}

class Exporter {
 public:
  Exporter(const fs::path& folder, int64_t rows)
      : file_((folder / "tokenizer.json").string()), rows_(static_cast<size_t>(std::max<int64_t>(rows, 0))) {
    json_ = parse_json(read_file(folder / "tokenizer.json"), file_);
    if (!json_.is_object() || !json_.contains("model") || !json_["model"].is_object())
      throw_invalid("{}: the field 'model' is missing", file_);
    original_ = load_tokenizer(folder);
    const fs::path config = folder / "tokenizer_config.json";
    if (fs::exists(config)) {
      const Json json = read_json_file(config);
      const auto cleans = json.find("clean_up_tokenization_spaces");
      if (cleans != json.end() && cleans->is_boolean()) cleans_spaces_ = cleans->get<bool>();
    }
  }

  GgufTokenizer run(const std::string& pre) {
    const Json& model = json_["model"];
    const std::string type = model.value("type", model.contains("merges") ? "BPE" : "");
    if (type == "Unigram") return run_unigram(model);
    if (type != "BPE")
      refuse("its model is of type '" + type +
             "'; merged pairs (BPE) and pieces with probabilities (Unigram) are");
    read_pieces(model);
    read_added();
    const bool has_bytes = ids_.contains("<0x00>");
    const bool is_byte_level =
        has_type(part("pre_tokenizer"), "ByteLevel") || has_type(part("decoder"), "ByteLevel");
    if (is_byte_level)
      by_merges(model, pre);
    else if (has_bytes && model.value("byte_fallback", false))
      by_scores(model);
    else
      refuse("it falls back neither to bytes nor to the byte-level alphabet; one of these is");
    fill_up();
    finish();
    compare_ids();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw_error(ErrorCode::kUnimplemented, "{}: {} what GGUF files hold", file_, why);
  }
  const Json& part(const char* key) const {
    static const Json kNone;
    const auto found = json_.find(key);
    return found == json_.end() ? kNone : *found;
  }

  void put(int64_t id, const std::string& piece, GgufTokenType type) {
    if (id < 0 || id > int64_t{1} << 24) throw_invalid("{}: {} is no token id", file_, id);
    const auto at = static_cast<size_t>(id);
    if (at >= out_.pieces.size()) {
      out_.pieces.resize(at + 1);
      out_.types.resize(at + 1, GgufTokenType::kUnused);
    }
    out_.pieces[at] = piece;
    out_.types[at] = type;
    ids_[piece] = at;
  }

  void read_pieces(const Json& model) {
    if (!model.contains("vocab") || !model["vocab"].is_object() || model["vocab"].empty())
      throw_invalid("{}: model.vocab is missing", file_);
    for (const auto& [piece, id] : model["vocab"].items()) {
      if (!id.is_number_integer()) throw_invalid("{}: model.vocab: '{}' has no id", file_, piece);
      put(id.get<int64_t>(), piece, GgufTokenType::kNormal);
    }
    const std::string unknown = model.contains("unk_token") && model["unk_token"].is_string()
                                    ? model["unk_token"].get<std::string>()
                                    : std::string();
    if (const auto found = ids_.find(unknown); !unknown.empty() && found != ids_.end()) {
      out_.types[found->second] = GgufTokenType::kUnknown;
      unknown_ = static_cast<int32_t>(found->second);
    }
  }

  void read_added() {
    const Json& added = part("added_tokens");
    if (!added.is_array()) return;
    for (const AddedToken& token : read_added_tokens({added, file_ + ": added_tokens"})) {
      const auto known = ids_.find(token.content);
      const int64_t id = known == ids_.end() ? token.id : static_cast<int64_t>(known->second);
      const bool is_unknown = unknown_ && id == *unknown_;
      put(id, token.content,
          is_unknown      ? GgufTokenType::kUnknown
          : token.special ? GgufTokenType::kControl
                          : GgufTokenType::kUserDefined);
      strips_ |= token.lstrip || token.rstrip || token.single_word;
    }
  }

  // "left right" or ["left", "right"].
  std::pair<std::string, std::string> merge_at(const Json& merge, size_t rank) const {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    const std::string text = merge.is_string() ? merge.get<std::string>() : std::string();
    const size_t space = text.find(' ');
    if (space == std::string::npos) throw_invalid("{}: model.merges[{}]: no two pieces", file_, rank);
    return {text.substr(0, space), text.substr(space + 1)};
  }

  const Json& merges(const Json& model) const {
    if (!model.contains("merges") || !model["merges"].is_array())
      throw_invalid("{}: model.merges is missing", file_);
    return model["merges"];
  }

  void by_merges(const Json& model, const std::string& pre) {
    out_.model = "gpt2";
    size_t rank = 0;
    for (const Json& merge : merges(model)) {
      const auto [left, right] = merge_at(merge, rank++);
      if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos)
        refuse("a merge has a space in it, which is not");
      out_.merges.push_back(left + " " + right);
    }
    choose_patterns(pre, model.value("ignore_merges", false));
    if (!part("normalizer").is_null())
      out_.notes.emplace_back(
          "the tokenizer normalises Unicode first, which GGUF files cannot say: decomposed characters are "
          "cut "
          "differently");
  }

  void choose_patterns(const std::string& wanted, bool ignores_merges) {
    const PreTokenizerPtr own = part("pre_tokenizer").is_null()
                                    ? nullptr
                                    : read_pre_tokenizer({part("pre_tokenizer"), file_ + ": pre_tokenizer"});
    std::vector<std::string> texts = tokenizer_probes();
    for (std::string& text : texts) text = normalised(text);
    const CutBy cut{own.get(), has_type(part("pre_tokenizer"), "ByteLevel"), ignores_merges, cleans_spaces_};
    const std::string named = wanted.empty() ? known_gguf_patterns(*original_) : wanted;
    const GgufPatterns found = named.empty() ? find_gguf_patterns(cut, texts)
                                             : GgufPatterns{named, cut_differently(cut, named, texts)};
    out_.pre = found.name;
    is_cut_alike_ = found.cut_differently.empty();
    must_be_near_ = wanted.empty();
  }

  // Text that is cut otherwise may become the same ids all the same, where no merge joins the pieces.
  void compare_ids() {
    if (out_.model != "gpt2" || is_cut_alike_) return;
    std::vector<std::string> found = differing();
    if (must_be_near_ && !found.empty()) found = try_patterns(std::move(found));
    if (must_be_near_ && too_many(found))
      throw_error(
          ErrorCode::kUnimplemented,
          "{}: no known patterns cut text like its pre_tokenizer; name the nearest with --pre, or add "
          "them to registry/tokenizers/gguf.yaml",
          file_);
    note_differences(fmt::format("patterns '{}' are not the tokenizer's own", out_.pre), found);
    std::erase_if(out_.probes, [&](const std::string& text) { return !is_comparable(text); });
  }

  // The usual patterns that leave the fewest texts with other ids; `least`: those of the ones chosen so far.
  std::vector<std::string> try_patterns(std::vector<std::string> least) {
    const bool ignores_merges = part("model").value("ignore_merges", false);
    std::string best = out_.pre;
    std::set<std::vector<std::string>> tried = {find_gguf_preset(best)->patterns};
    for (const std::string& name : gguf_preferred_presets()) {
      const auto preset = find_gguf_preset(name);
      if (least.empty() || preset->ignore_merges != ignores_merges || !tried.insert(preset->patterns).second)
        continue;
      out_.pre = name;
      std::vector<std::string> found = differing();
      if (found.size() >= least.size()) continue;
      least = std::move(found);
      best = name;
    }
    out_.pre = best;
    return least;
  }

  void note_differences(const std::string& why, const std::vector<std::string>& texts) {
    for (const std::string& text : texts)
      out_.notes.push_back(fmt::format("{}: text such as {} is cut differently", why, Json(text).dump()));
    cut_differently_ = texts;
  }

  std::string normalised(const std::string& text) const {
    if (part("normalizer").is_null()) return text;
    return read_normalizer({part("normalizer"), file_ + ": normalizer"})->apply(text);
  }

  GgufTokenizer run_unigram(const Json& model) {
    out_.model = "t5";
    out_.pre = "default";
    if (!model.contains("vocab") || !model["vocab"].is_array() || model["vocab"].empty())
      throw_invalid("{}: model.vocab is missing", file_);
    for (const Json& entry : model["vocab"]) {
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
        throw_invalid("{}: model.vocab[{}]: a piece and its score are expected", file_, out_.scores.size());
      put(static_cast<int64_t>(out_.scores.size()), entry[0].get<std::string>(), GgufTokenType::kNormal);
      out_.scores.push_back(entry[1].get<float>());
    }
    const Json unknown = model.value("unk_id", Json());
    if (unknown.is_number_unsigned() && unknown.get<size_t>() < out_.pieces.size()) {
      unknown_ = unknown.get<int32_t>();
      out_.types[static_cast<size_t>(*unknown_)] = GgufTokenType::kUnknown;
    }
    read_added();
    mark_bytes();
    if (const Json* map = find_type(part("normalizer"), "Precompiled"))
      out_.charsmap = decode_base64(map->value("precompiled_charsmap", "")).value_or("");
    fill_up();
    finish();
    try_spaces();
    return std::move(out_);
  }

  // How a Unigram tokenizer treats spaces is spread over its parts: the way that gives its ids is taken.
  void try_spaces() {
    std::vector<std::string> least = out_.probes;
    GgufTokenizer best;
    for (const bool prefix : {true, false})
      for (const bool merges : {true, false}) {
        out_.add_space_prefix = prefix;
        out_.merges_spaces = merges;
        std::vector<std::string> found = differing();
        if (found.size() >= least.size()) continue;
        least = std::move(found);
        best = out_;
      }
    if (best.pieces.empty() || too_many(least)) refuse("it treats spaces in another way than");
    out_ = std::move(best);
    note_differences("spaces are treated nearly as before", least);
    std::erase_if(out_.probes, [&](const std::string& text) { return !is_comparable(text); });
  }

  std::vector<std::string> differing() const { return differing_when_written(*original_, out_); }

  void mark_bytes() {
    for (size_t id = 0; id < out_.pieces.size(); ++id)
      if (out_.types[id] == GgufTokenType::kNormal && byte_of_piece(out_.pieces[id]) >= 0)
        out_.types[id] = GgufTokenType::kByte;
  }

  // A pair is merged when its score is the largest: the earlier in the list, the larger.
  void by_scores(const Json& model) {
    out_.model = "llama";
    out_.pre = "default";
    const Json& list = merges(model);
    out_.scores.assign(out_.pieces.size(), -static_cast<float>(list.size()) - 1.0F);
    std::vector<bool> is_made(out_.pieces.size(), false);
    size_t rank = 0;
    for (const Json& merge : list) {
      const auto [left, right] = merge_at(merge, rank);
      const auto made = ids_.find(left + right);
      if (made != ids_.end() && !is_made[made->second]) {
        is_made[made->second] = true;
        out_.scores[made->second] = -static_cast<float>(rank);
      }
      ++rank;
    }
    mark_bytes();
    out_.add_space_prefix = has_type(part("normalizer"), "Prepend") || prepends_by_metaspace();
  }

  bool has_metaspace() const { return has_type(part("pre_tokenizer"), "Metaspace"); }

  // Texts for which the form promises the same ids.
  bool is_comparable(const std::string& text) const {
    if (out_.model == "gpt2")
      return normalised(text) == text &&
             std::find(cut_differently_.begin(), cut_differently_.end(), text) == cut_differently_.end();
    const bool is_kept =
        std::find(cut_differently_.begin(), cut_differently_.end(), text) == cut_differently_.end();
    return is_kept && (out_.model == "t5" || !has_metaspace() || !text.starts_with(' '));
  }

  bool prepends_by_metaspace() const {
    const Json& cut = part("pre_tokenizer");
    if (!has_metaspace()) return false;
    // Older files have a flag instead of the scheme.
    return cut.value("prepend_scheme", cut.value("add_prefix_space", true) ? "always" : "never") != "never";
  }

  void fill_up() {
    if (out_.pieces.size() > rows_ && rows_ > 0)
      throw_invalid("{}: {} tokens, but the model's embedding has {} rows", file_, out_.pieces.size(), rows_);
    out_.pieces.resize(std::max(out_.pieces.size(), rows_));
    out_.types.resize(out_.pieces.size(), GgufTokenType::kUnused);
    if (!out_.scores.empty()) out_.scores.resize(out_.pieces.size(), -1e9F);
    for (size_t id = 0; id < out_.pieces.size(); ++id)
      if (out_.types[id] == GgufTokenType::kUnused) out_.pieces[id] = fmt::format("[PAD{}]", id);
  }

  void finish() {
    out_.special = original_->special_ids();
    if (!out_.special.unk && unknown_) out_.special.unk = unknown_;
    out_.add_bos = original_->adds_bos();
    out_.add_eos = original_->adds_eos();
    for (const std::string& probe : tokenizer_probes())
      if (is_comparable(probe)) out_.probes.push_back(probe);
    if (has_metaspace())
      out_.same_after_special = part("pre_tokenizer").value("prepend_scheme", "always") == "always";
    if (out_.model == "llama" && has_metaspace())
      out_.notes.emplace_back(
          "a text that begins with a space, or follows a special token, gets a space of its own in front, as "
          "the SentencePiece library does it");
    if (strips_)
      out_.notes.emplace_back(
          "added tokens that take the white space beside them, or stand only between words, do neither in "
          "GGUF "
          "files");
  }

  std::string file_;
  size_t rows_;
  Json json_;
  std::shared_ptr<const Tokenizer> original_;
  std::unordered_map<std::string, size_t> ids_;
  std::optional<int32_t> unknown_;
  bool strips_ = false;
  std::optional<bool> cleans_spaces_;
  std::vector<std::string> cut_differently_;
  bool is_cut_alike_ = true;
  bool must_be_near_ = true;
  GgufTokenizer out_;
};

fs::path sentencepiece_file(const fs::path& folder) {
  for (const char* name : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"})
    if (fs::exists(folder / name)) return folder / name;
  return {};
}

// Roles that the tokenizer's files leave open are those of config.json.
void take_config_ids(const fs::path& folder, GgufTokenizer& made) {
  if (!fs::exists(folder / "config.json")) return;
  const Json config = read_json_file(folder / "config.json");
  const auto take = [&](std::optional<int32_t>& id, const char* key) {
    Json value = config.value(key, Json());
    if (value.is_array() && !value.empty()) value = value.front();
    if (id || !value.is_number_integer()) return;
    const auto number = value.get<int64_t>();
    if (number >= 0 && number < static_cast<int64_t>(made.pieces.size())) id = static_cast<int32_t>(number);
  };
  take(made.special.bos, "bos_token_id");
  take(made.special.eos, "eos_token_id");
  take(made.special.pad, "pad_token_id");
}

}  // namespace

GgufTokenizer gguf_tokenizer(const fs::path& folder, int64_t rows, const std::string& pre) {
  GgufTokenizer made;
  if (fs::exists(folder / "tokenizer.json"))
    made = Exporter(folder, rows).run(pre);
  else if (const fs::path file = sentencepiece_file(folder); !file.empty())
    made = gguf_from_sentencepiece(file, rows);
  else
    throw_error(ErrorCode::kNotFound,
                "{}: no tokenizer.json and no tokenizer.model in it, which the tokenizer of the GGUF file is "
                "made from; --no-tokenizer leaves it out",
                folder.string());
  take_config_ids(folder, made);
  return made;
}

}  // namespace llmhost::text
