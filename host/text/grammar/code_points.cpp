#include "text/grammar/code_points.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace llmhost::text::grammar {
namespace {

constexpr CodeRange kSurrogates{0xD800, 0xDFFF};

size_t encode(char32_t code, std::array<uint8_t, 4>& bytes) {
  if (code < 0x80) {
    bytes[0] = static_cast<uint8_t>(code);
    return 1;
  }
  const size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i > 0; --i, code >>= 6) bytes[i] = static_cast<uint8_t>(0x80 | (code & 0x3F));
  constexpr uint8_t kLead[] = {0, 0, 0xC0, 0xE0, 0xF0};
  bytes[0] = static_cast<uint8_t>(kLead[n] | code);
  return n;
}

// Ranges whose bytes are independent of each other become one chain of edges.
class Utf8Ways {
 public:
  Utf8Ways(Nfa& nfa, int32_t from, int32_t to) : nfa_(nfa), from_(from), to_(to) {}

  void add(char32_t first, char32_t last) {
    constexpr char32_t kLengthEnds[] = {0x7F, 0x7FF, 0xFFFF};
    for (const char32_t end : kLengthEnds)
      if (first <= end && end < last) {
        add(first, end);
        add(end + 1, last);
        return;
      }
    if (last > 0x7F)
      for (int bits = 6; bits <= 18; bits += 6) {
        const char32_t low = (char32_t{1} << bits) - 1;
        if ((first & ~low) == (last & ~low)) continue;
        if ((first & low) != 0) {
          add(first, first | low);
          add((first | low) + 1, last);
          return;
        }
        if ((last & low) != low) {
          add(first, (last & ~low) - 1);
          add(last & ~low, last);
          return;
        }
      }
    chain(first, last);
  }

 private:
  void chain(char32_t first, char32_t last) {
    std::array<uint8_t, 4> low{};
    std::array<uint8_t, 4> high{};
    const size_t n = encode(first, low);
    encode(last, high);
    int32_t at = from_;
    for (size_t i = 0; i < n; ++i) {
      const int32_t next = i + 1 == n ? to_ : nfa_.add_state();
      nfa_.add_edge(at, low[i], high[i], next);
      at = next;
    }
  }

  Nfa& nfa_;
  int32_t from_;
  int32_t to_;
};

// "Lu"; in the order of utf8proc_category_t.
std::string_view category_name(size_t category) {
  constexpr std::string_view kNames = "CnLuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCo";
  return kNames.substr(category * 2, 2);
}

template <class IsIn>
CodeSet all_that(const IsIn& is_in) {
  CodeSet set;
  char32_t first = 0;
  bool inside = false;
  for (char32_t code = 0; code <= kLastCodePoint + 1; ++code) {
    const bool now = code <= kLastCodePoint && is_in(utf8proc_category(static_cast<int32_t>(code)));
    if (now && !inside) first = code;
    if (!now && inside) set.add(first, code - 1);
    inside = now;
  }
  set.ranges();
  return set;
}

using Categories = std::array<CodeSet, UTF8PROC_CATEGORY_CO + 1>;

Categories all_categories() {
  Categories sets;
  char32_t first = 0;
  utf8proc_category_t last = utf8proc_category(0);
  for (char32_t code = 1; code <= kLastCodePoint + 1; ++code) {
    const auto its = code <= kLastCodePoint ? utf8proc_category(static_cast<int32_t>(code)) : last;
    if (its == last && code <= kLastCodePoint) continue;
    sets[static_cast<size_t>(last)].add(first, code - 1);
    first = code;
    last = its;
  }
  for (const CodeSet& set : sets) set.ranges();
  return sets;
}

}  // namespace

void CodeSet::add(const CodeSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  is_normal_ = false;
}

void CodeSet::normalise() const {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.first < b.first; });
  std::vector<CodeRange> out;
  std::vector<CodeRange> apart;
  for (const CodeRange& range : ranges_) {
    if (range.first < kSurrogates.first)
      apart.push_back({range.first, std::min(range.last, char32_t{kSurrogates.first - 1})});
    if (range.last > kSurrogates.last)
      apart.push_back({std::max(range.first, char32_t{kSurrogates.last + 1}), range.last});
  }
  for (const CodeRange& range : apart) {
    if (!out.empty() && range.first <= out.back().last + 1)
      out.back().last = std::max(out.back().last, range.last);
    else
      out.push_back(range);
  }
  ranges_ = std::move(out);
  is_normal_ = true;
}

const std::vector<CodeRange>& CodeSet::ranges() const {
  if (!is_normal_) normalise();
  return ranges_;
}

CodeSet CodeSet::complement() const {
  CodeSet out;
  char32_t next = 0;
  for (const CodeRange& range : ranges()) {
    if (range.first > next) out.add(next, range.first - 1);
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) out.add(next, kLastCodePoint);
  out.normalise();
  return out;
}

CodeSet general_category(std::string_view name) {
  static const auto kSets = all_categories();
  if (name.empty() || name.size() > 2) return {};
  CodeSet set;
  for (size_t category = 0; category < kSets.size(); ++category)
    if (category_name(category).starts_with(name)) set.add(kSets[category]);
  return set;
}

CodeSet unicode_digits() {
  static const CodeSet set = all_that([](auto category) { return category == UTF8PROC_CATEGORY_ND; });
  return set;
}

CodeSet unicode_words() {
  static const CodeSet set = all_that([](auto category) {
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO) ||
           category == UTF8PROC_CATEGORY_PC;
  });
  return set;
}

CodeSet unicode_spaces() {
  static const CodeSet set = [] {
    CodeSet spaces = all_that(
        [](auto category) { return category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP; });
    spaces.add(0x09, 0x0D);
    spaces.add(0x1C, 0x1F);
    spaces.add(0x85, 0x85);
    spaces.add(0xFEFF, 0xFEFF);
    return spaces;
  }();
  return set;
}

void add_characters(Nfa& nfa, int32_t from, const CodeSet& set, int32_t to) {
  Utf8Ways ways(nfa, from, to);
  for (const CodeRange& range : set.ranges()) ways.add(range.first, range.last);
}

}  // namespace llmhost::text::grammar
