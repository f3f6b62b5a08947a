#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "text/tokenizer_utf8.h"

namespace llmhost::text {
namespace {

constexpr double kUnknownPenalty = 10.0;  // SentencePiece's constant: below the worst piece by this much

}  // namespace

Unigram::Unigram(Vocab vocab, std::vector<double> scores, std::optional<int32_t> unk, bool byte_fallback)
    : vocab_(std::move(vocab)),
      scores_(std::move(scores)),
      bytes_(vocab_),
      unk_(unk),
      byte_fallback_(byte_fallback) {
  for (int32_t id = 0; id < vocab_.size(); ++id) {
    const std::string_view piece = vocab_.piece(id);
    if (!piece.empty() && vocab_.find(piece) == id) sorted_.push_back(id);
  }
  std::sort(sorted_.begin(), sorted_.end(),
            [&](int32_t a, int32_t b) { return vocab_.piece(a) < vocab_.piece(b); });
  double lowest = std::numeric_limits<double>::infinity();
  for (const double s : scores_) lowest = std::min(lowest, s);
  unk_score_ = lowest - kUnknownPenalty;
}

void Unigram::extend_from(std::string_view text, size_t start, std::vector<Node>& best) const {
  const double here = best[start].score;
  const size_t character = utf8_at(text, start).length;
  const auto offer = [&](size_t end, double score, int32_t id) {
    Node& node = best[end];
    if (node.start < 0 || score > node.score) node = {score, static_cast<int64_t>(start), id};
  };
  bool has_single = false;
  auto low = sorted_.begin();
  auto high = sorted_.end();
  for (size_t length = 0; start + length < text.size() && low != high; ++length) {
    const auto byte = static_cast<uint8_t>(text[start + length]);
    const auto byte_of = [&](int32_t id) {  // -1: the piece ends before this byte
      const std::string_view p = vocab_.piece(id);
      return p.size() > length ? static_cast<int>(static_cast<uint8_t>(p[length])) : -1;
    };
    low = std::partition_point(low, high, [&](int32_t id) { return byte_of(id) < byte; });
    high = std::partition_point(low, high, [&](int32_t id) { return byte_of(id) <= byte; });
    if (low == high || vocab_.piece(*low).size() != length + 1) continue;
    offer(start + length + 1, here + scores_[static_cast<size_t>(*low)], *low);
    has_single = has_single || length + 1 == character;
  }
  if (has_single) return;
  if (!unk_) throw_invalid("a character outside the vocabulary, and the tokenizer has no unknown token");
  offer(start + character, here + unk_score_, *unk_);
}

std::vector<Unigram::Node> Unigram::best_paths(std::string_view text) const {
  std::vector<Node> best(text.size() + 1);
  best[0].start = 0;
  for (size_t start = 0; start < text.size(); start += utf8_at(text, start).length)
    if (best[start].start >= 0) extend_from(text, start, best);
  return best;
}

void Unigram::append_piece(std::string_view piece, std::vector<int32_t>& ids) const {
  if (const int32_t id = vocab_.find(piece); id != Vocab::kNone) {
    ids.push_back(id);
  } else if (!(byte_fallback_ && bytes_.append(piece, ids)) && unk_) {
    ids.push_back(*unk_);
  }
}

void Unigram::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  const std::vector<Node> best = best_paths(piece);
  std::vector<std::pair<size_t, size_t>> spans;  // from the end; neighbouring unknowns are one
  bool last_unknown = false;
  for (size_t end = piece.size(); end > 0;) {
    const Node& node = best[end];
    const auto start = static_cast<size_t>(node.start);
    const bool unknown = unk_ && node.id == *unk_;
    if (unknown && last_unknown) {
      spans.back().first = start;
    } else {
      spans.emplace_back(start, end);
    }
    last_unknown = unknown;
    end = start;
  }
  for (auto it = spans.rbegin(); it != spans.rend(); ++it)
    append_piece(piece.substr(it->first, it->second - it->first), ids);
}

}  // namespace llmhost::text
