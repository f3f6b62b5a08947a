#include "text/pre_tokenizer.h"

#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer_split.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

constexpr std::string_view kByteLevelPattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// Applies `rewrite(piece, at_start) -> string` to each piece.
template <class Rewrite>
void rewrite_pieces(Pieces& pieces, const Rewrite& rewrite) {
  std::string text;
  text.reserve(pieces.text.size() * 2);
  for (Pieces::Range& range : pieces.ranges) {
    const size_t begin = text.size();
    rewrite(pieces.piece(range), range.at_start, text);
    range.begin = begin;
    range.end = text.size();
  }
  pieces.text = std::move(text);
}

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<PreTokenizerPtr> steps) : steps_(std::move(steps)) {}
  void apply(Pieces& pieces) const override {
    for (const PreTokenizerPtr& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<PreTokenizerPtr> steps_;
};

// Splits by a function that finds matches in a piece.
template <class Find>
class Splitter final : public PreTokenizer {
 public:
  Splitter(SplitBehavior behavior, bool invert, Find find)
      : behavior_(behavior), invert_(invert), find_(std::move(find)) {}
  void apply(Pieces& pieces) const override { split_pieces(pieces, behavior_, invert_, find_); }

 private:
  SplitBehavior behavior_;
  bool invert_;
  Find find_;
};

template <class Find>
PreTokenizerPtr splitter(SplitBehavior behavior, bool invert, Find find) {
  return std::make_unique<Splitter<Find>>(behavior, invert, std::move(find));
}

// Each character for which the predicate holds is one match.
template <class Predicate>
PreTokenizerPtr character_splitter(SplitBehavior behavior, Predicate is_separator) {
  return splitter(behavior, false, [is_separator](std::string_view text, std::vector<Match>& out) {
    size_t covered = 0;
    for (size_t i = 0; i < text.size();) {
      const Utf8Char c = utf8_at(text, i);
      if (is_separator(c.code)) {
        if (i > covered) out.push_back({covered, i, false});
        out.push_back({i, i + c.length, true});
        covered = i + c.length;
      }
      i += c.length;
    }
    if (covered < text.size()) out.push_back({covered, text.size(), false});
  });
}

void match_string(std::string_view text, std::string_view pattern, std::vector<Match>& out) {
  size_t covered = 0;
  if (!pattern.empty()) {
    for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, covered)) {
      if (at > covered) out.push_back({covered, at, false});
      out.push_back({at, at + pattern.size(), true});
      covered = at + pattern.size();
    }
  }
  if (covered < text.size()) out.push_back({covered, text.size(), false});
}

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex)
      split_ = make_regex_split(Regex(kByteLevelPattern, RegexFlavor::kPerl, "byte-level pre-tokenizer"),
                                SplitBehavior::kIsolated, false);
  }

  void apply(Pieces& pieces) const override {
    if (add_prefix_space_) {
      rewrite_pieces(pieces, [](std::string_view piece, bool, std::string& out) {
        if (!piece.starts_with(' ')) out += ' ';
        out += piece;
      });
    }
    if (split_) split_->apply(pieces);
    rewrite_pieces(pieces, [](std::string_view piece, bool, std::string& out) {
      append_bytes_as_characters(piece, out);
    });
  }

 private:
  bool add_prefix_space_;
  PreTokenizerPtr split_;
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}

  void apply(Pieces& pieces) const override {
    rewrite_pieces(pieces, [&](std::string_view piece, bool at_start, std::string& out) {
      const bool wanted = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && at_start);
      if (wanted && !piece.starts_with(' ') && !piece.starts_with(replacement_)) out += replacement_;
      out += replace_all(piece, " ", replacement_);
    });
    if (!split_) return;
    split_pieces(
        pieces, SplitBehavior::kMergedWithNext, false,
        [&](std::string_view text, std::vector<Match>& out) { match_string(text, replacement_, out); });
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

void match_whitespace_words(std::string_view text, std::vector<Match>& out) {
  enum class Kind { kSpace, kWord, kOther };
  Kind last = Kind::kSpace;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    const Kind kind = is_word(c.code) ? Kind::kWord : is_white_space(c.code) ? Kind::kSpace : Kind::kOther;
    if (!out.empty() && kind == last) {
      out.back().end = i + c.length;
    } else {
      out.push_back({i, i + c.length, kind != Kind::kSpace});
    }
    last = kind;
    i += c.length;
  }
}

}  // namespace

void merge_matches(std::vector<Match>& matches, SplitBehavior behavior) {
  std::vector<Match> out;
  bool last = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(matches, [](const Match& m) { return m.is_match; });
      return;
    case SplitBehavior::kContiguous:
      for (const Match& m : matches) {
        if (m.is_match == last && !out.empty()) {
          out.back().end = m.end;
        } else {
          out.push_back(m);
        }
        last = m.is_match;
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Match& m : matches) {
        if (m.is_match && !last && !out.empty()) {
          out.back().end = m.end;
        } else {
          out.push_back(m);
        }
        last = m.is_match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (auto m = matches.rbegin(); m != matches.rend(); ++m) {
        if (m->is_match && !last && !out.empty()) {
          out.back().begin = m->begin;
        } else {
          out.push_back(*m);
        }
        last = m->is_match;
      }
      out = {out.rbegin(), out.rend()};
      break;
  }
  matches = std::move(out);
}

PreTokenizerPtr make_pre_tokenizer_sequence(std::vector<PreTokenizerPtr> steps) {
  return std::make_unique<Sequence>(std::move(steps));
}

PreTokenizerPtr make_regex_split(Regex pattern, SplitBehavior behavior, bool invert) {
  return splitter(behavior, invert,
                  [pattern = std::move(pattern)](std::string_view text, std::vector<Match>& out) {
                    pattern.split(text, out);
                  });
}

PreTokenizerPtr make_string_split(std::string pattern, SplitBehavior behavior, bool invert) {
  return splitter(behavior, invert,
                  [pattern = std::move(pattern)](std::string_view text, std::vector<Match>& out) {
                    match_string(text, pattern, out);
                  });
}

PreTokenizerPtr make_byte_level(bool add_prefix_space, bool use_regex) {
  return std::make_unique<ByteLevel>(add_prefix_space, use_regex);
}

PreTokenizerPtr make_metaspace(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}

PreTokenizerPtr make_whitespace() {
  return splitter(SplitBehavior::kRemoved, true, match_whitespace_words);
}

PreTokenizerPtr make_whitespace_split() {
  return character_splitter(SplitBehavior::kRemoved, is_white_space);
}

PreTokenizerPtr make_punctuation(SplitBehavior behavior) {
  return character_splitter(behavior, is_punctuation);
}

PreTokenizerPtr make_digits(bool individual) {
  return character_splitter(individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, is_numeric);
}

PreTokenizerPtr make_bert_pre_tokenizer() {
  std::vector<PreTokenizerPtr> steps;
  steps.push_back(make_whitespace_split());
  steps.push_back(make_punctuation(SplitBehavior::kIsolated));
  return make_pre_tokenizer_sequence(std::move(steps));
}

PreTokenizerPtr make_fixed_length(size_t characters) {
  return splitter(SplitBehavior::kIsolated, false,
                  [characters](std::string_view text, std::vector<Match>& out) {
                    size_t count = 0;
                    for (size_t i = 0; i < text.size();) {
                      const size_t length = utf8_at(text, i).length;
                      if (count++ % characters == 0) out.push_back({i, i, false});
                      i += length;
                      out.back().end = i;
                    }
                  });
}

}  // namespace llmhost::text
