#include "text/wordpiece.h"

#include "text/tokenizer_utf8.h"

namespace llmhost::text {

WordPiece::WordPiece(Vocab vocab, std::string_view unk_token, std::string continuing_prefix,
                     size_t max_characters)
    : vocab_(std::move(vocab)),
      unk_(vocab_.find(unk_token)),
      prefix_(std::move(continuing_prefix)),
      max_characters_(max_characters) {}

bool WordPiece::match_word(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<size_t> ends;  // the end of each character
  for (size_t i = 0; i < word.size();) {
    i += utf8_at(word, i).length;
    ends.push_back(i);
  }
  if (ends.size() > max_characters_) return false;
  std::string candidate;
  size_t first = 0;  // index of the next character
  while (first < ends.size()) {
    const size_t begin = first == 0 ? 0 : ends[first - 1];
    size_t last = ends.size();
    for (; last > first; --last) {
      candidate.assign(first == 0 ? "" : prefix_);
      candidate += word.substr(begin, ends[last - 1] - begin);
      if (const int32_t id = vocab_.find(candidate); id != Vocab::kNone) {
        ids.push_back(id);
        break;
      }
    }
    if (last == first) return false;
    first = last;
  }
  return true;
}

void WordPiece::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  if (match_word(piece, ids)) return;
  ids.resize(before);
  if (unk_ != Vocab::kNone) ids.push_back(unk_);
}

WordLevel::WordLevel(Vocab vocab, std::string_view unk_token)
    : vocab_(std::move(vocab)), unk_(vocab_.find(unk_token)) {}

void WordLevel::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  const int32_t id = vocab_.find(piece);
  if (id != Vocab::kNone) {
    ids.push_back(id);
  } else if (unk_ != Vocab::kNone) {
    ids.push_back(unk_);
  }
}

}  // namespace llmhost::text
