#include "text/grammar/positions.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "text/grammar/token_trie.h"

namespace llmhost::text::grammar {

Positions::Positions(const Grammar::Tables& tables) : tables_(tables) {
  clear();
}

void Positions::clear() {
  positions_.clear();
  items_.clear();
  rows_.clear();
  numbers_.clear();
  std::vector<Item> none;
  std::vector<Item> end{{kEndState, 0}};
  std::vector<Item> unknown{{kUnknownState, 0}};
  intern(none);
  intern(end);
  intern(unknown);
}

void Positions::throw_work() {
  throw_error(ErrorCode::kResourceExhausted,
              "grammar: there are too many ways to read the text so far; make the grammar less ambiguous");
}

int32_t Positions::start() {
  std::vector<Item> items{{tables_.starts[0], kEnd}};
  if (tables_.may_be_empty) items.push_back({kEndState, 0});
  return intern(items);
}

int32_t Positions::inside(int32_t state) {
  std::vector<Item> items{{state, kUnknown}};
  return intern(items);
}

int32_t Positions::intern(std::vector<Item>& items) {
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
  if (items.size() > kMostItems) throw_work();
  uint64_t hash = 0x9E3779B97F4A7C15U;
  for (const Item& item : items) {
    hash = (hash ^ (uint64_t{static_cast<uint32_t>(item.state)} << 32 | static_cast<uint32_t>(item.caller))) *
           0xFF51AFD7ED558CCDU;
    hash ^= hash >> 32;
  }
  count_work(1 + items.size());
  const auto [begin, end] = numbers_.equal_range(hash);
  for (auto found = begin; found != end; ++found)
    if (std::ranges::equal(kernel(found->second), items)) return found->second;
  count_work(kPositionWork);
  const auto number = static_cast<int32_t>(positions_.size());
  Position position;
  position.first_item = items_.size();
  position.n_items = items.size();
  items_.insert(items_.end(), items.begin(), items.end());
  positions_.push_back(position);
  numbers_.emplace(hash, number);
  return number;
}

std::span<const Positions::Item> Positions::kernel(int32_t position) const {
  const Position& its = positions_[static_cast<size_t>(position)];
  return std::span(items_).subspan(its.first_item, its.n_items);
}

std::span<const Positions::Item> Positions::items(int32_t position) {
  const Position& its = open(position);
  return std::span(items_).subspan(its.first_open, its.n_here);
}

// A state that only ends its rule is the same as its callers.
void Positions::add_resolved(Item item, std::vector<Item>& out) {
  if (item.state < 0 || !tables_.is_end(item.state)) {
    out.push_back(item);
    return;
  }
  const std::span<const Item> callers = kernel(item.caller);
  out.insert(out.end(), callers.begin(), callers.end());
}

Positions::Position& Positions::open(int32_t number) {
  const auto index = static_cast<size_t>(number);
  if (positions_[index].is_open) return positions_[index];
  const std::span<const Item> own = kernel(number);
  std::vector<Item> all(own.begin(), own.end());
  Position now = positions_[index];
  add_returns(now, all);
  now.n_here = all.size();
  add_calls(all);
  if (all.size() > 4 * kMostItems) throw_work();
  count_work(all.size());
  now.is_open = true;
  now.first_open = items_.size();
  now.n_open = all.size();
  items_.insert(items_.end(), all.begin(), all.end());
  positions_[index] = now;
  return positions_[index];
}

// Items of callers that go on where a state accepts; takes the marks out.
void Positions::add_returns(Position& at, std::vector<Item>& all) {
  std::vector<int32_t> returned;  // positions that all items of were added
  for (size_t i = 0; i < all.size(); ++i) {
    const Item item = all[i];
    if (item.state == kEndState) at.may_end = true;
    if (item.state == kUnknownState) at.may_leave = true;
    if (item.state < 0 || !tables_.accepts(item.state)) continue;
    if (std::find(returned.begin(), returned.end(), item.caller) != returned.end()) continue;
    returned.push_back(item.caller);
    const std::span<const Item> callers = kernel(item.caller);
    all.insert(all.end(), callers.begin(), callers.end());
    if (all.size() > 4 * kMostItems) throw_work();
  }
  std::erase_if(all, [](const Item& item) { return item.state < 0; });
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
}

// Starts of the rules that are called, in the order of their ranks, so that all that calls a rule here is
// known when it is begun.
void Positions::add_calls(std::vector<Item>& all) {
  std::map<std::pair<int32_t, int32_t>, std::vector<Item>> waiting;  // by rank and rule
  const auto call = [&](const Item& item) {
    for (const Call& called : tables_.calls_of(item.state)) {
      const int32_t rank = tables_.rank[static_cast<size_t>(called.rule)];
      add_resolved({called.target, item.caller}, waiting[{rank, called.rule}]);
    }
  };
  for (size_t i = 0; i < all.size(); ++i) call(all[i]);
  while (!waiting.empty()) {
    auto first = waiting.extract(waiting.begin());
    const int32_t callers = intern(first.mapped());
    all.push_back({tables_.starts[static_cast<size_t>(first.key().second)], callers});
    call(all.back());
  }
}

int32_t* Positions::row(int32_t position) {
  int64_t row = positions_[static_cast<size_t>(position)].row;
  if (row < 0) {
    row = static_cast<int64_t>(rows_.size());
    rows_.resize(rows_.size() + static_cast<size_t>(tables_.n_classes), -1);
    positions_[static_cast<size_t>(position)].row = row;
  }
  return rows_.data() + row;
}

int32_t Positions::find_step(int32_t position, uint8_t byte) {
  const Position from = open(position);
  std::vector<Item> next;
  for (size_t i = 0; i < from.n_open; ++i) {
    const Item item = items_[from.first_open + i];
    for (const Edge& edge : tables_.edges_of(item.state)) {
      if (edge.first > byte) break;
      if (byte <= edge.last) add_resolved({edge.target, item.caller}, next);
    }
    if (next.size() > 4 * kMostItems) throw_work();
  }
  count_work(from.n_open);
  const int32_t number = intern(next);
  row(position)[tables_.class_of[byte]] = number;
  return number;
}

uint64_t Positions::loops(int32_t position) {
  const auto index = static_cast<size_t>(position);
  if (positions_[index].has_loops) return positions_[index].loops;
  uint64_t leaves = 0;
  for (int byte = 0; byte < 256; ++byte)
    if (step(position, static_cast<uint8_t>(byte)) != position)
      leaves |= uint64_t{1} << kind_of_byte(static_cast<uint8_t>(byte));
  positions_[index].has_loops = true;
  positions_[index].loops = ~leaves;
  return ~leaves;
}

size_t Positions::n_bytes() const {
  constexpr size_t kNumberBytes = 48;  // an entry of numbers_
  return positions_.size() * (sizeof(Position) + kNumberBytes) + items_.size() * sizeof(Item) +
         rows_.size() * sizeof(int32_t);
}

int32_t Positions::keep_only(int32_t position) {
  Positions old(tables_);
  std::swap(old.positions_, positions_);
  std::swap(old.items_, items_);
  std::swap(old.rows_, rows_);
  std::swap(old.numbers_, numbers_);
  clear();
  std::vector<int32_t> copies(old.positions_.size(), -1);
  for (const int32_t fixed : {kNowhere, kEnd, kUnknown}) copies[static_cast<size_t>(fixed)] = fixed;
  return copy_from(old, position, copies);
}

// Callers first, without recursion: there may be as many above each other as the text has open brackets.
int32_t Positions::copy_from(const Positions& other, int32_t position, std::vector<int32_t>& copies) {
  std::vector<int32_t> todo{position};
  while (!todo.empty()) {
    const int32_t now = todo.back();
    bool is_ready = true;
    for (const Item& item : other.kernel(now))
      if (item.state >= 0 && copies[static_cast<size_t>(item.caller)] < 0) {
        todo.push_back(item.caller);
        is_ready = false;
      }
    if (!is_ready) continue;
    todo.pop_back();
    if (copies[static_cast<size_t>(now)] >= 0) continue;
    std::vector<Item> items;
    for (const Item& item : other.kernel(now))
      items.push_back({item.state, item.state < 0 ? 0 : copies[static_cast<size_t>(item.caller)]});
    begin_work();
    copies[static_cast<size_t>(now)] = intern(items);
  }
  return copies[static_cast<size_t>(position)];
}

}  // namespace llmhost::text::grammar
