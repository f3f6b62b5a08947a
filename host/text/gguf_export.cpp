#include "text/gguf_export.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/registry_files.h"
#include "text/byte_level.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_json_parts.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_registry.h"

namespace llmhost::text {
namespace {

namespace fs = std::filesystem;

YAML::Node registry(std::string_view name) {
  for (const RegistryFile& file : registry_files())
    if (file.subject == "tokenizers" && file.name == name) return YAML::Load(std::string(file.text));
  throw_error(ErrorCode::kInternal, "registry/tokenizers/{}.yaml is not part of this build", name);
}

// Somewhere in a (nested) part there is one of this type.
bool has_type(const Json& part, std::string_view type) {
  if (part.is_object() && part.value("type", "") == type) return true;
  if (!part.is_structured()) return false;
  return std::any_of(part.begin(), part.end(), [&](const Json& inner) { return has_type(inner, type); });
}

class Exporter {
 public:
  Exporter(const fs::path& folder, int64_t rows)
      : file_((folder / "tokenizer.json").string()), rows_(static_cast<size_t>(std::max<int64_t>(rows, 0))) {
    json_ = parse_json(read_file(folder / "tokenizer.json"), file_);
    if (!json_.is_object() || !json_.contains("model") || !json_["model"].is_object())
      throw_invalid("{}: the field 'model' is missing", file_);
    original_ = load_tokenizer(folder);
  }

  GgufTokenizer run(const std::string& pre) {
    const Json& model = json_["model"];
    const std::string type = model.value("type", model.contains("merges") ? "BPE" : "");
    if (type != "BPE") refuse("its model is of type '" + type + "'; pairs of bytes or characters (BPE) are");
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
    out_.pre = pre.empty() ? find_patterns(model.value("ignore_merges", false)) : pre;
    if (!find_gguf_preset(out_.pre))
      throw UsageError(
          fmt::format("'{}' is no known name of patterns (registry/tokenizers/gguf.yaml)", out_.pre));
    if (!part("normalizer").is_null())
      out_.notes.emplace_back(
          "the tokenizer normalises Unicode first, which GGUF files cannot say: decomposed characters are "
          "cut "
          "differently");
  }

  // The pieces of the probes by the tokenizer's own pre-tokenizer, in the byte-level alphabet.
  std::vector<std::string> pieces_of(const std::vector<std::string>& probes) const {
    const PreTokenizerPtr own = part("pre_tokenizer").is_null()
                                    ? nullptr
                                    : read_pre_tokenizer({part("pre_tokenizer"), file_ + ": pre_tokenizer"});
    const bool maps_bytes = has_type(part("pre_tokenizer"), "ByteLevel");
    std::vector<std::string> pieces;
    for (const std::string& probe : probes) {
      Pieces cut(probe, true);
      if (own) own->apply(cut);
      for (const Pieces::Range& range : cut.ranges)
        pieces.push_back(maps_bytes ? std::string(cut.piece(range)) : bytes_to_characters(cut.piece(range)));
    }
    return pieces;
  }

  static std::vector<std::string> pieces_of(const GgufPreset& preset,
                                            const std::vector<std::string>& probes) {
    std::vector<PreTokenizerPtr> steps;
    for (const std::string& pattern : preset.patterns)
      steps.push_back(make_regex_split(Regex(pattern, RegexFlavor::kPerl, "registry/tokenizers/gguf.yaml"),
                                       SplitBehavior::kIsolated, false));
    const PreTokenizerPtr patterns = make_pre_tokenizer_sequence(std::move(steps));
    std::vector<std::string> pieces;
    for (const std::string& probe : probes) {
      Pieces cut(probe, true);
      patterns->apply(cut);
      for (const Pieces::Range& range : cut.ranges) pieces.push_back(bytes_to_characters(cut.piece(range)));
    }
    return pieces;
  }

  std::string find_patterns(bool ignores_merges) const {
    const std::vector<std::string> probes = normalised_probes();
    const std::vector<std::string> wanted = pieces_of(probes);
    std::vector<std::string> ids = registry("gguf")["preferred"].as<std::vector<std::string>>();
    for (std::string& id : gguf_preset_ids()) ids.push_back(std::move(id));
    for (const std::string& id : ids) {
      const auto preset = find_gguf_preset(id);
      if (!preset || !preset->byte_level || preset->add_sep || preset->ignore_merges != ignores_merges)
        continue;
      if (pieces_of(*preset, probes) == wanted) return id;
    }
    throw_error(
        ErrorCode::kUnimplemented,
        "{}: no known patterns cut text like its pre_tokenizer; name the nearest with --pre, or add them "
        "to registry/tokenizers/gguf.yaml",
        file_);
  }

  std::string normalised(const std::string& text) const {
    if (part("normalizer").is_null()) return text;
    return read_normalizer({part("normalizer"), file_ + ": normalizer"})->apply(text);
  }

  std::vector<std::string> normalised_probes() const {
    std::vector<std::string> probes = tokenizer_probes();
    for (std::string& probe : probes) probe = normalised(probe);
    return probes;
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
    for (size_t id = 0; id < out_.pieces.size(); ++id)
      if (out_.types[id] == GgufTokenType::kNormal && byte_of_piece(out_.pieces[id]) >= 0)
        out_.types[id] = GgufTokenType::kByte;
    out_.add_space_prefix = has_type(part("normalizer"), "Prepend") || prepends_by_metaspace();
  }

  bool prepends_by_metaspace() const {
    const Json& cut = part("pre_tokenizer");
    if (!has_type(cut, "Metaspace")) return false;
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
      if (out_.model != "gpt2" || normalised(probe) == probe) out_.probes.push_back(probe);
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
  GgufTokenizer out_;
};

}  // namespace

std::vector<std::string> tokenizer_probes() {
  return registry("probes")["probes"].as<std::vector<std::string>>();
}

GgufTokenizer gguf_tokenizer(const fs::path& folder, int64_t rows, const std::string& pre) {
  if (!fs::exists(folder / "tokenizer.json"))
    throw_error(
        ErrorCode::kNotFound,
        "{}: no tokenizer.json in it, which the tokenizer of the GGUF file is made from; --no-tokenizer "
        "leaves it out",
        folder.string());
  return Exporter(folder, rows).run(pre);
}

void write_gguf_tokenizer(const GgufTokenizer& tokenizer, model::GgufWriter& writer) {
  writer.set("tokenizer.ggml.model", tokenizer.model);
  writer.set("tokenizer.ggml.pre", tokenizer.pre);
  writer.set("tokenizer.ggml.tokens", std::span<const std::string>(tokenizer.pieces));
  if (!tokenizer.scores.empty())
    writer.set("tokenizer.ggml.scores", std::span<const float>(tokenizer.scores));
  std::vector<int32_t> types;
  for (const GgufTokenType type : tokenizer.types) types.push_back(static_cast<int32_t>(type));
  writer.set("tokenizer.ggml.token_type", std::span<const int32_t>(types));
  if (!tokenizer.merges.empty())
    writer.set("tokenizer.ggml.merges", std::span<const std::string>(tokenizer.merges));
  const auto id = [&](const char* key, const std::optional<int32_t>& value) {
    if (value) writer.set(key, static_cast<uint32_t>(*value));
  };
  id("tokenizer.ggml.bos_token_id", tokenizer.special.bos);
  id("tokenizer.ggml.eos_token_id", tokenizer.special.eos);
  id("tokenizer.ggml.eot_token_id", tokenizer.special.eot);
  id("tokenizer.ggml.unknown_token_id", tokenizer.special.unk);
  id("tokenizer.ggml.padding_token_id", tokenizer.special.pad);
  writer.set("tokenizer.ggml.add_bos_token", tokenizer.add_bos);
  writer.set("tokenizer.ggml.add_eos_token", tokenizer.add_eos);
  if (tokenizer.add_space_prefix) writer.set("tokenizer.ggml.add_space_prefix", *tokenizer.add_space_prefix);
}

std::string first_difference(const Tokenizer& a, const Tokenizer& b, std::vector<std::string> texts) {
  std::string with_special = "before";
  for (const auto& id : {a.special_ids().bos, a.special_ids().eos, a.special_ids().eot})
    if (id) with_special += a.piece_of(*id) + "between ";
  texts.push_back(with_special + "after");
  for (const std::string& text : texts)
    for (const bool add_special : {false, true})
      if (a.encode(text, {.add_special = add_special}) != b.encode(text, {.add_special = add_special}))
        return text;
  return {};
}

}  // namespace llmhost::text
