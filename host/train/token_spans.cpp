#include "train/token_spans.h"

#include <algorithm>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/names.h"

namespace llmhost::train {
namespace {

using Ids = std::vector<int32_t>;

Ids encode(const text::Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false, .parse_special = true});
}

// How many bytes of text each token and those before it stand for; nothing when the tokens do not give the
// text back exactly.
std::optional<std::vector<size_t>> ends_of(const text::Tokenizer& tokenizer, const Ids& ids,
                                           std::string_view text) {
  const auto decoding = tokenizer.new_decoding({});
  std::vector<size_t> ends;
  ends.reserve(ids.size());
  std::string out;
  for (const int32_t id : ids) {
    decoding->push(id, out);
    ends.push_back(out.size());
  }
  decoding->finish(out);
  if (out != text) return std::nullopt;
  if (!ends.empty()) ends.back() = out.size();
  return ends;
}

size_t common_prefix(const Ids& a, const Ids& b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n), b.begin()).first - a.begin());
}

// Counts the tokens before places of one encoded text; places are asked for in ascending order.
class Places {
 public:
  Places(const text::Tokenizer& tokenizer, std::string_view text)
      : tokenizer_(tokenizer),
        text_(text),
        ids_(encode(tokenizer, text)),
        ends_(ends_of(tokenizer, ids_, text)) {}

  const Ids& ids() const { return ids_; }

  // The number of tokens that make up the text before `at`, if a token ends there.
  std::optional<size_t> exactly(size_t at) const {
    if (at == 0) return 0;
    if (ends_) {
      const auto found = std::lower_bound(ends_->begin(), ends_->end(), at);
      if (found != ends_->end() && *found == at) return static_cast<size_t>(found - ends_->begin()) + 1;
    }
    // A decoder that gives nothing back exactly, or only after later tokens.
    const Ids before = encode(tokenizer_, text_.substr(0, at));
    if (common_prefix(before, ids_) != before.size()) return std::nullopt;
    return before.size();
  }

  // The same, with the token that goes on behind `at`.
  size_t at_least(size_t at) const {
    if (const auto exact = exactly(at)) return *exact;
    if (ends_)
      return static_cast<size_t>(std::lower_bound(ends_->begin(), ends_->end(), at) - ends_->begin()) + 1;
    return std::min(common_prefix(encode(tokenizer_, text_.substr(0, at)), ids_) + 1, ids_.size());
  }

 private:
  const text::Tokenizer& tokenizer_;
  std::string_view text_;
  Ids ids_;
  std::optional<std::vector<size_t>> ends_;
};

// What follows `before` as tokens of its own. Tokenizers that put a space before a text are shown a text that
// ends a word first, whose tokens are taken away again.
std::optional<Ids> continued(const text::Tokenizer& tokenizer, const Ids& before, std::string_view rest) {
  const std::string whole = tokenizer.decode(before) + std::string(rest);
  for (const std::string_view opening : {"", "\n", "|"}) {
    const Ids opened = encode(tokenizer, opening);
    Ids ids = encode(tokenizer, std::string(opening) + std::string(rest));
    if (common_prefix(opened, ids) != opened.size()) continue;
    Ids joined = before;
    joined.insert(joined.end(), ids.begin() + static_cast<std::ptrdiff_t>(opened.size()), ids.end());
    if (tokenizer.decode(joined) == whole) return joined;
  }
  return std::nullopt;
}

Example unlabelled(Ids ids) {
  Example example{std::move(ids), {}};
  example.labels.assign(example.ids.size(), kNoLabel);
  return example;
}

void learn(Example& example, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) example.labels[i] = example.ids[i];
}

// The text is cut where a learnt part begins inside a token.
Example encode_cut(const text::Tokenizer& tokenizer, std::string_view text,
                   std::span<const TextSpan> learnt) {
  Example example;
  size_t at = 0;  // the text before is in the example
  const auto append = [&](size_t end, bool is_learnt) {
    if (end == at) return;
    const auto joined = continued(tokenizer, example.ids, text.substr(at, end - at));
    if (!joined)
      throw_invalid("the tokens before {} depend on what follows; separate it in the template or the text",
                    quote_name(text.substr(at, 24)));
    const size_t before = example.ids.size();
    example.ids = *joined;
    example.labels.resize(example.ids.size(), kNoLabel);
    if (is_learnt) learn(example, before, example.ids.size());
    at = end;
  };
  for (const TextSpan& span : learnt) {
    append(span.begin, false);
    append(span.end, true);
  }
  append(text.size(), false);
  return example;
}

}  // namespace

Example encode_spans(const text::Tokenizer& tokenizer, std::string_view text,
                     std::span<const TextSpan> learnt) {
  const Places places(tokenizer, text);
  Example example = unlabelled(places.ids());
  for (const TextSpan& span : learnt) {
    const auto begin = places.exactly(span.begin);
    if (!begin) return encode_cut(tokenizer, text, learnt);
    learn(example, *begin, places.at_least(span.end));
  }
  return example;
}

}  // namespace llmhost::train
