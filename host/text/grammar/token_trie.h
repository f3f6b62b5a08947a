// Tokens by their bytes, as a tree in the order of a walk that visits each node before those below it.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace llmhost::text::grammar {

// Bytes by kinds few enough for a bit each: what grammars tell apart has mostly kinds of its own.
uint8_t kind_of_byte(uint8_t byte);

struct TokenTrie {
  struct Node {
    int32_t end = 0;          // the node after all that is below
    int32_t first_token = 0;  // its tokens are those up to the next node's
    uint16_t depth = 0;       // bytes up to it
    uint8_t byte = 0;         // that leads to it
  };

  std::vector<Node> nodes;      // the root first, and one more that ends the tokens
  std::vector<uint64_t> kinds;  // of all bytes below each node
  std::vector<int32_t> tokens;

  bool empty() const { return tokens.empty(); }
  size_t n_nodes() const { return nodes.empty() ? 0 : nodes.size() - 1; }
  size_t n_bytes() const {
    return nodes.size() * (sizeof(Node) + sizeof(uint64_t)) + tokens.size() * sizeof(int32_t);
  }
};

// Sorts the entries.
TokenTrie make_trie(std::vector<std::pair<std::string_view, int32_t>>& entries);

}  // namespace llmhost::text::grammar
