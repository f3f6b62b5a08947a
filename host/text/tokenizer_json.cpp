// Reads a tokenizer.json. The vocabulary and the merges, nearly all of the file, never become a JSON tree.
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "text/bpe.h"
#include "text/json_cursor.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_json_parts.h"
#include "text/tokenizer_pipeline.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace llmhost::text {
namespace {

// The parts of one object, each as its own text: large ones are read by a JsonCursor, small ones parsed.
class Slices {
 public:
  Slices(std::string_view text, std::string_view source, size_t base, std::string where)
      : text_(text), source_(source), base_(base), where_(std::move(where)) {
    JsonCursor cursor(text, source, base);
    for (cursor.enter('{'); cursor.next('}');) {
      const std::string key(cursor.key());
      slices_[key] = cursor.skip();
    }
    cursor.expect_end();
  }

  bool has(const std::string& key) const {
    const auto it = slices_.find(key);
    return it != slices_.end() && it->second != "null";
  }
  std::string_view text(const std::string& key) const {
    if (!has(key)) throw_invalid("{}: the field '{}' is missing", where_, key);
    return slices_.at(key);
  }
  size_t offset(const std::string& key) const {
    return base_ + static_cast<size_t>(text(key).data() - text_.data());
  }
  JsonCursor cursor(const std::string& key) const { return {text(key), source_, offset(key)}; }
  std::string where(const std::string& key) const {
    return where_ == source_ ? fmt::format("{}: {}", where_, key) : fmt::format("{}.{}", where_, key);
  }
  Json json(const std::string& key) const { return parse_json(text(key), where(key)); }
  std::string source() const { return std::string(source_); }

  // All small fields as one object, for flags and names.
  Json small_fields() const {
    Json out = Json::object();
    for (const auto& [key, slice] : slices_)
      if (key != "vocab" && key != "merges") out[key] = parse_json(slice, where(key));
    return out;
  }

 private:
  std::string_view text_;
  std::string_view source_;
  size_t base_;
  std::string where_;
  std::map<std::string, std::string_view> slices_;
};

int32_t checked_id(int64_t id, const JsonCursor& cursor) {
  if (id < 0 || id > INT32_MAX) cursor.fail(fmt::format("{} is not a token id", id));
  return static_cast<int32_t>(id);
}

// {"piece": id, …}
Vocab read_vocab(const Slices& model) {
  JsonCursor cursor = model.cursor("vocab");
  Vocab vocab;
  vocab.reserve(model.text("vocab").size() / 16, model.text("vocab").size());
  std::string piece;
  for (cursor.enter('{'); cursor.next('}');) {
    piece = cursor.key();
    vocab.add(checked_id(cursor.integer(), cursor), piece);
  }
  vocab.build_index(model.where("vocab"));
  return vocab;
}

// One merge, "left right" or ["left", "right"].
std::pair<std::string, std::string> read_merge(JsonCursor& cursor) {
  std::pair<std::string, std::string> merge;
  if (cursor.peek() == '"') {
    const std::string_view text = cursor.string();
    const size_t space = text.find(' ');
    if (space == std::string_view::npos) cursor.fail("a merge must be two pieces with a space between");
    merge.first = text.substr(0, space);
    merge.second = text.substr(space + 1);
    return merge;
  }
  int parts = 0;
  for (cursor.enter('['); cursor.next(']'); ++parts)
    (parts == 0 ? merge.first : merge.second) = cursor.string();
  if (parts != 2) cursor.fail("a merge must be two pieces");
  return merge;
}

MergeTable read_merges(const Slices& model, const Vocab& vocab, std::string_view continuing_prefix) {
  JsonCursor cursor = model.cursor("merges");
  MergeTable table;
  table.reserve(model.text("merges").size() / 16);
  uint32_t rank = 0;
  std::string joined;
  for (cursor.enter('['); cursor.next(']'); ++rank) {
    const auto [left, right] = read_merge(cursor);
    if (right.size() < continuing_prefix.size())
      cursor.fail("a merge is shorter than continuing_subword_prefix");
    joined.assign(left).append(right, continuing_prefix.size());
    const int32_t a = vocab.find(left);
    const int32_t b = vocab.find(right);
    const int32_t c = vocab.find(joined);
    if (a < 0 || b < 0 || c < 0)
      throw_invalid("{}[{}]: '{}' is not in the vocabulary; the file is damaged", model.where("merges"), rank,
                    a < 0   ? left
                    : b < 0 ? right
                            : joined);
    table.add(a, b, {rank, c});
  }
  return table;
}

std::unique_ptr<const TokenModel> read_bpe(const Slices& model, const JsonAt& fields) {
  BpeConfig config;
  config.unk_token = fields.string_or("unk_token", "");
  config.continuing_prefix = fields.string_or("continuing_subword_prefix", "");
  config.word_suffix = fields.string_or("end_of_word_suffix", "");
  config.fuse_unk = fields.flag_or("fuse_unk", false);
  config.byte_fallback = fields.flag_or("byte_fallback", false);
  config.ignore_merges = fields.flag_or("ignore_merges", false);
  Vocab vocab = read_vocab(model);
  MergeTable merges = read_merges(model, vocab, config.continuing_prefix);
  return std::make_unique<MergeBpe>(std::move(vocab), std::move(merges), std::move(config));
}

// "vocab": [["piece", score], …]
std::unique_ptr<const TokenModel> read_unigram(const Slices& model, const JsonAt& fields) {
  JsonCursor cursor = model.cursor("vocab");
  Vocab vocab;
  std::vector<double> scores;
  for (cursor.enter('['); cursor.next(']');) {
    cursor.enter('[');
    if (!cursor.next(']')) cursor.fail("a piece and its score were expected");
    vocab.add(static_cast<int32_t>(scores.size()), cursor.string());
    if (!cursor.next(']')) cursor.fail("a score was expected");
    scores.push_back(cursor.number());
    if (!std::isfinite(scores.back())) cursor.fail("a finite score was expected");
    if (cursor.next(']')) cursor.fail("only a piece and its score were expected");
  }
  vocab.build_index(model.where("vocab"));
  std::optional<int32_t> unk;
  if (fields.has("unk_id")) {
    const size_t id = fields.count_or("unk_id", 0);
    if (id >= scores.size()) fields.at("unk_id").refuse("the id is outside the vocabulary");
    unk = static_cast<int32_t>(id);
  }
  return std::make_unique<Unigram>(std::move(vocab), std::move(scores), unk,
                                   fields.flag_or("byte_fallback", false));
}

// Files of before 2021 name no type: the fields tell.
std::string model_type(const Slices& model, const JsonAt& fields) {
  if (fields.has("type")) return fields.string("type");
  if (model.has("merges")) return "BPE";
  if (fields.has("max_input_chars_per_word")) return "WordPiece";
  return model.has("unk_id") ? "Unigram" : "WordLevel";
}

std::unique_ptr<const TokenModel> read_model(const Slices& model, const std::string& where) {
  const Json small = model.small_fields();
  const JsonAt fields{small, where};
  const std::string type = model_type(model, fields);
  if (type == "BPE") return read_bpe(model, fields);
  if (type == "Unigram") return read_unigram(model, fields);
  if (type == "WordPiece")
    return std::make_unique<WordPiece>(read_vocab(model), fields.string_or("unk_token", "[UNK]"),
                                       fields.string_or("continuing_subword_prefix", "##"),
                                       fields.count_or("max_input_chars_per_word", 100));
  if (type == "WordLevel")
    return std::make_unique<WordLevel>(read_vocab(model), fields.string_or("unk_token", "<unk>"));
  fields.refuse(fmt::format("the model type '{}' is not supported", type));
}

void read_parts(const Slices& root, PipelineParts& parts) {
  if (root.has("normalizer")) {
    const Json json = root.json("normalizer");
    parts.normalizer = read_normalizer({json, root.where("normalizer")});
  }
  if (root.has("pre_tokenizer")) {
    const Json json = root.json("pre_tokenizer");
    parts.pre_tokenizer = read_pre_tokenizer({json, root.where("pre_tokenizer")});
  }
  if (root.has("decoder")) {
    const Json json = root.json("decoder");
    read_decoder({json, root.where("decoder")}, parts.decoder);
    // An empty Sequence joins without spaces, unlike no decoder at all.
    if (parts.decoder.empty()) parts.decoder.push_back({.kind = DecoderSpec::Kind::kFuse});
  }
  if (root.has("post_processor")) {
    const Json json = root.json("post_processor");
    PostProcess post;
    read_post_processor({json, root.where("post_processor")}, post);
    parts.prefix_ids = std::move(post.prefix);
    parts.suffix_ids = std::move(post.suffix);
    parts.drops_text = post.drops_text;
  }
}

// A token that the model knows has the model's id, whatever the list says.
void read_added(const Slices& root, PipelineParts& parts) {
  if (root.has("added_tokens")) {
    const Json json = root.json("added_tokens");
    for (AddedToken& token : read_added_tokens({json, root.where("added_tokens")})) {
      const int32_t known = parts.model->vocab().find(token.content);
      if (known != Vocab::kNone) token.id = known;
      parts.added.add(std::move(token));
    }
  }
  parts.added.build(
      [&](const std::string& text) { return parts.normalizer ? parts.normalizer->apply(text) : text; });
}

}  // namespace

std::shared_ptr<Tokenizer> make_json_tokenizer(std::string_view json, std::string_view source) {
  const Slices root(json, source, 0, std::string(source));
  const Slices model(root.text("model"), source, root.offset("model"), root.where("model"));
  PipelineParts parts;
  parts.model = read_model(model, root.where("model"));
  read_parts(root, parts);
  read_added(root, parts);
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

}  // namespace llmhost::text
