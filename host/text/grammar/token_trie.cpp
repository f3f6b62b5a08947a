#include "text/grammar/token_trie.h"

#include <algorithm>
#include <array>

namespace llmhost::text::grammar {
namespace {

constexpr std::array<uint8_t, 256> kKinds = [] {
  std::array<uint8_t, 256> kinds{};
  uint8_t next = 1;  // 0: control characters
  for (const size_t byte : {0x09, 0x0A, 0x0D}) kinds[byte] = next++;
  const uint8_t digit = next++;
  const uint8_t lower = next++;
  const uint8_t lower_hex = next++;
  const uint8_t upper = next++;
  const uint8_t upper_hex = next++;
  for (size_t byte = 0x20; byte < 0x80; ++byte) {
    if (byte >= '0' && byte <= '9')
      kinds[byte] = digit;
    else if (byte >= 'a' && byte <= 'z')
      kinds[byte] = byte <= 'f' ? lower_hex : lower;
    else if (byte >= 'A' && byte <= 'Z')
      kinds[byte] = byte <= 'F' ? upper_hex : upper;
    else
      kinds[byte] = next++;
  }
  const uint8_t follower = next++;
  const uint8_t leader = next++;
  for (size_t byte = 0x80; byte < 0x100; ++byte) kinds[byte] = byte < 0xC0 ? follower : leader;
  return kinds;
}();
static_assert(kKinds[0xFF] < 64);

}  // namespace

uint8_t kind_of_byte(uint8_t byte) {
  return kKinds[byte];
}

TokenTrie make_trie(std::vector<std::pair<std::string_view, int32_t>>& entries) {
  std::sort(entries.begin(), entries.end());
  TokenTrie trie;
  trie.nodes.push_back({});
  std::vector<size_t> path{0};  // nodes of the last entry's bytes
  std::string_view last;
  const auto close = [&](size_t length) {
    for (; path.size() > length + 1; path.pop_back())
      trie.nodes[path.back()].end = static_cast<int32_t>(trie.nodes.size());
  };
  for (const auto& [bytes, token] : entries) {
    const size_t shared = static_cast<size_t>(
        std::mismatch(bytes.begin(), bytes.end(), last.begin(), last.end()).first - bytes.begin());
    close(shared);
    for (size_t i = shared; i < bytes.size(); ++i) {
      path.push_back(trie.nodes.size());
      trie.nodes.push_back({0, static_cast<int32_t>(trie.tokens.size()), static_cast<uint16_t>(i + 1),
                            static_cast<uint8_t>(bytes[i])});
    }
    trie.tokens.push_back(token);
    last = bytes;
  }
  close(0);
  trie.nodes[0].end = static_cast<int32_t>(trie.nodes.size());
  trie.nodes.push_back({0, static_cast<int32_t>(trie.tokens.size()), 0, 0});
  trie.kinds.assign(trie.nodes.size(), 0);
  std::vector<size_t> above;
  for (size_t i = 1; i < trie.n_nodes(); ++i) {
    while (!above.empty() && trie.nodes[above.back()].depth >= trie.nodes[i].depth) above.pop_back();
    const uint64_t kind = uint64_t{1} << kind_of_byte(trie.nodes[i].byte);
    trie.kinds[0] |= kind;
    for (const size_t node : above) trie.kinds[node] |= kind;
    above.push_back(i);
  }
  return trie;
}

}  // namespace llmhost::text::grammar
