// Rank files: lines of "base64 rank". The text is cut by one pattern, pieces are merged by the rank of the
// joined bytes.
#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/json.h"
#include "text/base64.h"
#include "text/bpe.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_regex.h"
#include "text/tokenizer_registry.h"
#include "text/utf8_runs.h"

namespace llmhost::text {
namespace {

struct RankSettings {
  std::string pattern;
  std::vector<AddedToken> special;
};

class RankTokenizer final : public Tokenizer {
 public:
  RankTokenizer(Vocab vocab, RankSettings settings, std::string_view source)
      : model_(std::move(vocab)), pattern_(settings.pattern, RegexFlavor::kPerl, source) {
    size_ = model_.vocab().size();
    for (AddedToken& token : settings.special) {
      size_ = std::max(size_, token.id + 1);
      added_.add(std::move(token));
    }
    added_.build([](const std::string& text) { return text; });
  }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_special && special_ids().bos) ids.push_back(*special_ids().bos);
    for (const AddedTokens::Segment& segment : added_.split(text, false, options.parse_special)) {
      if (segment.id >= 0) {
        ids.push_back(segment.id);
        continue;
      }
      for_each_utf8_run(
          segment.text, [&](std::string_view run) { encode_run(run, ids); },
          [&](std::string_view bytes) { model_.tokenize(bytes, ids); });
    }
    return ids;
  }

  std::unique_ptr<Decoding> new_decoding(const DecodeOptions& options) const override;
  int32_t vocab_size() const override { return size_; }
  std::string piece_of(int32_t id) const override {
    if (const AddedToken* token = added_.find(id)) return token->content;
    return std::string(model_.vocab().piece(id));
  }
  std::optional<int32_t> id_of(std::string_view piece) const override {
    if (const AddedToken* token = added_.find(piece)) return token->id;
    const int32_t id = model_.vocab().find(piece);
    return id == Vocab::kNone ? std::nullopt : std::optional(id);
  }
  bool is_special(int32_t id) const override { return added_.find(id) != nullptr; }

 private:
  void encode_run(std::string_view run, std::vector<int32_t>& ids) const {
    std::vector<Match> matches;
    pattern_.split(run, matches);
    for (const Match& m : matches)
      if (m.begin < m.end) model_.tokenize(run.substr(m.begin, m.end - m.begin), ids);
  }

  RankBpe model_;
  Regex pattern_;
  AddedTokens added_;
  int32_t size_ = 0;
};

class RankDecoding final : public Decoding {
 public:
  RankDecoding(const RankTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}
  void push(int32_t id, std::string& out) override {
    if (!skip_special_ || !tokenizer_.is_special(id)) assembler_.push(tokenizer_.piece_of(id), out);
  }
  void finish(std::string& out) override { assembler_.finish(out); }

 private:
  const RankTokenizer& tokenizer_;
  bool skip_special_;
  Utf8Assembler assembler_;
};

std::unique_ptr<Decoding> RankTokenizer::new_decoding(const DecodeOptions& options) const {
  return std::make_unique<RankDecoding>(*this, options.skip_special);
}

bool read_line(std::string_view line, std::string& bytes, int32_t& rank) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return false;
  auto decoded = decode_base64(line.substr(0, space));
  const std::string_view number = line.substr(space + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
  if (!decoded || decoded->empty() || rank < 0 || error != std::errc() ||
      end != number.data() + number.size())
    return false;
  bytes = std::move(*decoded);
  return true;
}

std::string_view take_line(std::string_view& rest) {
  const size_t end = std::min(rest.find('\n'), rest.size());
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

size_t read_ranks(std::string_view bytes, std::string_view source, Vocab& vocab) {
  size_t count = 0;
  std::string piece;
  for (size_t number = 1; !bytes.empty(); ++number) {
    const std::string_view line = take_line(bytes);
    if (line.empty()) continue;
    int32_t rank = -1;
    if (!read_line(line, piece, rank))
      throw_invalid("{}: line {}: 'base64 rank' was expected; the file is damaged", source, number);
    vocab.add(rank, piece);
    ++count;
  }
  vocab.build_index(source);
  return count;
}

RankSettings read_settings_file(const std::filesystem::path& path) {
  const Json json = read_json_file(path);
  const auto wrong = [&](std::string_view key) {
    throw_invalid("{}: '{}' is missing or of the wrong type", path.string(), key);
  };
  RankSettings settings;
  if (!json.is_object() || !json.contains("pattern") || !json["pattern"].is_string()) wrong("pattern");
  settings.pattern = json["pattern"].get<std::string>();
  if (!json.contains("special_tokens") || !json["special_tokens"].is_object()) wrong("special_tokens");
  for (const auto& [content, id] : json["special_tokens"].items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX - 1)
      wrong("special_tokens");
    settings.special.push_back({.content = content, .id = id.get<int32_t>(), .special = true});
  }
  return settings;
}

RankSettings known_settings(size_t ranks, std::string_view source) {
  const auto form = find_rank_form(ranks);
  if (!form)
    throw_invalid(
        "{}: a rank file with {} ranks is of no known form; put a tiktoken_config.json with 'pattern' and "
        "'special_tokens' beside it",
        source, ranks);
  RankSettings settings{form->pattern, {}};
  auto id = static_cast<int32_t>(ranks);
  for (const std::string& content : form->special_tokens)
    settings.special.push_back({.content = content, .id = id++, .special = true});
  return settings;
}

}  // namespace

bool looks_like_rank_file(std::string_view bytes) {
  std::string piece;
  int32_t rank = -1;
  return read_line(take_line(bytes), piece, rank);
}

std::shared_ptr<Tokenizer> make_rank_tokenizer(std::string_view bytes, std::string_view source,
                                               const std::filesystem::path& settings) {
  Vocab vocab;
  const size_t ranks = read_ranks(bytes, source, vocab);
  RankSettings read = settings.empty() ? known_settings(ranks, source) : read_settings_file(settings);
  return std::make_shared<RankTokenizer>(std::move(vocab), std::move(read), source);
}

}  // namespace llmhost::text
