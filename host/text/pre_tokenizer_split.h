// How the matches of one splitting pattern become pieces. [thread-safe]
#pragma once

#include "text/pre_tokenizer.h"

namespace llmhost::text {

// Replaces the matches (which cover a text) by the pieces that `behavior` makes of them.
void merge_matches(std::vector<Match>& matches, SplitBehavior behavior);

// Cuts each piece by `find(piece, matches)`, which must append matches and gaps that cover the piece in
// order.
template <class Find>
void split_pieces(Pieces& pieces, SplitBehavior behavior, bool invert, const Find& find) {
  std::vector<Pieces::Range> out;
  out.reserve(pieces.ranges.size() * 2);
  std::vector<Match> matches;
  for (const Pieces::Range& range : pieces.ranges) {
    matches.clear();
    find(pieces.piece(range), matches);
    if (invert)
      for (Match& m : matches) m.is_match = !m.is_match;
    merge_matches(matches, behavior);
    for (const Match& m : matches)
      if (m.begin < m.end)
        out.push_back({range.begin + m.begin, range.begin + m.end, range.at_start && m.begin == 0});
  }
  pieces.ranges = std::move(out);
}

}  // namespace llmhost::text
