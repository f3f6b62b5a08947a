#include <algorithm>
#include <bit>

#include "core/error.h"
#include "text/grammar/positions.h"
#include "text/grammar/vocabulary.h"

namespace llmhost::text {
namespace grammar {
namespace {

void set_bit(std::span<uint64_t> mask, int32_t token) {
  const auto word = static_cast<size_t>(token) / 64;
  if (word < mask.size()) mask[word] |= uint64_t{1} << (token % 64);
}

void clear_bit(std::span<uint64_t> mask, int32_t token) {
  const auto word = static_cast<size_t>(token) / 64;
  if (word < mask.size()) mask[word] &= ~(uint64_t{1} << (token % 64));
}

// Calls take(first, last) with the runs of trie.tokens that the position allows, and leave(node) for nodes
// below which the unknown caller goes on.
template <class Take, class Leave>
void walk(const TokenTrie& trie, Positions& positions, int32_t start, const Take& take, const Leave& leave) {
  constexpr int32_t kWorthALook = 16;  // nodes below, to find out which bytes lead nowhere else
  std::vector<int32_t> path{start};
  const auto n = static_cast<int32_t>(trie.n_nodes());
  size_t visited = 0;
  for (int32_t i = 1; i < n;) {
    const TokenTrie::Node& node = trie.nodes[static_cast<size_t>(i)];
    ++visited;
    const int32_t now = positions.step(path[size_t{node.depth} - 1], node.byte);
    if (now == Positions::kNowhere) {
      i = node.end;
      continue;
    }
    if (node.end - i > kWorthALook && (trie.kinds[static_cast<size_t>(i)] & ~positions.loops(now)) == 0) {
      take(node.first_token, trie.nodes[static_cast<size_t>(node.end)].first_token);
      i = node.end;
      continue;
    }
    take(node.first_token, trie.nodes[static_cast<size_t>(i) + 1].first_token);
    if (node.end > i + 1) leave(i, now);
    path.resize(node.depth);
    path.push_back(now);
    ++i;
  }
  positions.count_work(visited / 8);
}

class PositionMatcher final : public Matcher {
 public:
  PositionMatcher(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenVocabulary> vocabulary,
                  std::vector<int32_t> stop_tokens)
      : grammar_(std::move(grammar)),
        vocabulary_(std::move(vocabulary)),
        stop_tokens_(std::move(stop_tokens)),
        positions_(grammar_->tables()),
        now_(positions_.start()) {}

  void allowed(std::span<uint64_t> mask) override;
  void accept(int32_t token) override {
    if (!try_accept(token))
      throw_error(ErrorCode::kFailedPrecondition, "grammar: token {} is not allowed here", token);
  }
  bool try_accept(int32_t token) override {
    const bool is_stop = std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
    const std::string_view bytes = vocabulary_->bytes_of(token, is_first_);
    return !is_stop && !bytes.empty() && try_accept_text(bytes);
  }
  bool try_accept_text(std::string_view bytes) override;
  bool may_end() const override { return positions_.may_end(now_); }
  bool is_complete() const override { return now_ == Positions::kEnd; }

 private:
  static constexpr size_t kMostBytes = size_t{8} << 20;

  void begin_work() {
    positions_.begin_work();
    if (positions_.n_bytes() <= most_bytes_) return;
    now_ = positions_.keep_only(now_);
    most_bytes_ = std::max(kMostBytes, 2 * positions_.n_bytes());
  }
  std::shared_ptr<const StateMask> mask_of(int32_t state, TokenTable& table);
  StateMask make_mask(int32_t state, const TokenTable& table);

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenVocabulary> vocabulary_;
  std::vector<int32_t> stop_tokens_;
  mutable Positions positions_;
  int32_t now_;
  size_t most_bytes_ = kMostBytes;  // of positions, before old ones are forgotten
  bool is_first_ = true;
};

bool PositionMatcher::try_accept_text(std::string_view bytes) {
  begin_work();
  int32_t next = now_;
  for (const char c : bytes) next = positions_.step(next, static_cast<uint8_t>(c));
  if (next == Positions::kNowhere) return false;
  now_ = next;
  is_first_ = is_first_ && bytes.empty();
  return true;
}

void PositionMatcher::allowed(std::span<uint64_t> mask) {
  begin_work();
  TokenTable& table = vocabulary_->parts().table(is_first_);
  const auto take_from = [&](const TokenTrie& trie) {
    return [&mask, &trie](int32_t first, int32_t last) {
      for (int32_t i = first; i < last; ++i) set_bit(mask, trie.tokens[static_cast<size_t>(i)]);
    };
  };
  const auto ignore = [](int32_t, int32_t) {};
  const std::span<const Positions::Item> here = positions_.items(now_);
  const std::vector<Positions::Item> items(here.begin(), here.end());
  for (const Positions::Item& item : items) {
    const std::shared_ptr<const StateMask> its = mask_of(item.state, table);
    for (size_t word = 0; word < std::min(mask.size(), its->bits.size()); ++word)
      mask[word] |= its->bits[word];
    for (const int32_t token : its->tokens) set_bit(mask, token);
    if (!its->after.empty()) walk(its->after, positions_, item.caller, take_from(its->after), ignore);
  }
  if (!table.long_tokens.empty())
    walk(table.long_tokens, positions_, now_, take_from(table.long_tokens), ignore);
  const bool can_end = may_end();
  for (const int32_t token : stop_tokens_) can_end ? set_bit(mask, token) : clear_bit(mask, token);
}

std::shared_ptr<const StateMask> PositionMatcher::mask_of(int32_t state, TokenTable& table) {
  const auto& key = grammar_->tables().fingerprints[static_cast<size_t>(state)];
  if (auto known = table.masks.find(key)) return known;
  auto made = std::make_shared<const StateMask>(make_mask(state, table));
  table.masks.insert(key, made);
  return made;
}

StateMask PositionMatcher::make_mask(int32_t state, const TokenTable& table) {
  const TokenTrie& trie = table.short_tokens;
  StateMask out;
  std::vector<uint64_t> bits((table.begins.size() + 62) / 64);
  std::vector<int32_t> leaves;
  size_t n_taken = 0;
  walk(
      trie, positions_, positions_.inside(state),
      [&](int32_t first, int32_t last) {
        for (int32_t i = first; i < last; ++i) set_bit(bits, trie.tokens[static_cast<size_t>(i)]);
        n_taken += static_cast<size_t>(last - first);
      },
      [&](int32_t node, int32_t position) {
        if (positions_.may_leave(position)) leaves.push_back(node);
      });
  std::vector<std::pair<std::string_view, int32_t>> after;
  for (const int32_t leaf : leaves) {
    const TokenTrie::Node& node = trie.nodes[static_cast<size_t>(leaf)];
    const int32_t begin = trie.nodes[static_cast<size_t>(leaf) + 1].first_token;
    const int32_t end = trie.nodes[static_cast<size_t>(node.end)].first_token;
    for (int32_t i = begin; i < end; ++i) {
      const int32_t token = trie.tokens[static_cast<size_t>(i)];
      if ((bits[static_cast<size_t>(token) / 64] >> (token % 64) & 1) == 0)
        after.emplace_back(table.bytes_of(token).substr(node.depth), token);
    }
  }
  positions_.count_work(after.size());
  if (!after.empty()) out.after = make_trie(after);
  if (n_taken * sizeof(int32_t) > bits.size() * sizeof(uint64_t)) {
    out.bits = std::move(bits);
  } else {
    for (size_t word = 0; word < bits.size(); ++word)
      for (uint64_t left = bits[word]; left != 0; left &= left - 1)
        out.tokens.push_back(static_cast<int32_t>(word * 64) + std::countr_zero(left));
  }
  return out;
}

}  // namespace
}  // namespace grammar

std::unique_ptr<Matcher> make_matcher(std::shared_ptr<const Grammar> grammar,
                                      std::shared_ptr<const TokenVocabulary> vocabulary,
                                      std::vector<int32_t> stop_tokens) {
  return std::make_unique<grammar::PositionMatcher>(std::move(grammar), std::move(vocabulary),
                                                    std::move(stop_tokens));
}

}  // namespace llmhost::text
